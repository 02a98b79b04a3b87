//! Primary order (Zab): an epoch has one leader and its transactions carry its epoch, counted without a hole; a
//! leader begins with everything that was delivered before.

use std::collections::BTreeMap;

use ringkeeper::base::{Sid, Zxid};

use super::violated;

#[derive(Default)]
pub struct PrimaryOrder {
    leaders: BTreeMap<i64, Sid>,
    proposed: BTreeMap<Zxid, Sid>,
}

impl PrimaryOrder {
    /// Epochs that somebody has led.
    pub fn elections(&self) -> usize {
        self.leaders.len()
    }

    pub fn leader_of(&self, epoch: i64) -> Option<Sid> {
        self.leaders.get(&epoch).copied()
    }

    /// A server begins to lead; `delivered` is the newest transaction that anybody has delivered.
    pub fn leads(&mut self, sid: Sid, epoch: i64, applied: Zxid, delivered: Zxid) {
        let first = *self.leaders.entry(epoch).or_insert(sid);
        if first != sid {
            let text = format!("servers {} and {} lead epoch {epoch}", first.0, sid.0);
            violated("primary order", text);
        }
        if applied < delivered && delivered.epoch() < epoch {
            let text =
                format!("server {} leads epoch {epoch} from {applied}, without {delivered}", sid.0);
            violated("primary order", text);
        }
    }

    pub fn proposed(&mut self, sid: Sid, zxid: Zxid) {
        let by = *self.proposed.entry(zxid).or_insert(sid);
        let before = self.proposed.range(..zxid).next_back().map(|(before, _)| *before);
        let follows = before.is_some_and(|before| before.next() == zxid) || zxid.counter() == 1;
        if by != sid || !follows {
            let text = format!("server {} proposes {zxid} after {before:?}, {} did", sid.0, by.0);
            violated("primary order", text);
        }
    }

    /// The first delivery of `zxid`, right after `before`.
    pub fn delivered(&self, before: Zxid, zxid: Zxid) {
        let first = zxid.counter() == 1 && before.epoch() < zxid.epoch();
        if before.next() != zxid && !first {
            violated("primary order", format!("{zxid} is delivered after {before}"));
        }
    }
}

#[test]
fn two_leaders_holes_and_a_leader_that_lacks_something() {
    let caught = |wrong: &mut dyn FnMut(&mut PrimaryOrder)| {
        let mut checker = PrimaryOrder::default();
        let epoch = 1 << 32;
        checker.leads(Sid(1), 1, Zxid(0), Zxid(0));
        checker.proposed(Sid(1), Zxid(epoch + 1));
        checker.proposed(Sid(1), Zxid(epoch + 2));
        checker.delivered(Zxid(0), Zxid(epoch + 1));
        super::assert_caught("primary order", || wrong(&mut checker));
    };
    let epoch = 1 << 32;
    caught(&mut |checker| checker.leads(Sid(2), 1, Zxid(0), Zxid(0)));
    caught(&mut |checker| checker.leads(Sid(2), 2, Zxid(epoch), Zxid(epoch + 1)));
    caught(&mut |checker| checker.proposed(Sid(2), Zxid(epoch + 2)));
    caught(&mut |checker| checker.proposed(Sid(1), Zxid(epoch + 4)));
    caught(&mut |checker| checker.delivered(Zxid(epoch + 1), Zxid(epoch + 3)));
}
