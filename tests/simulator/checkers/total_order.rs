//! Total order: what servers deliver are beginnings of one sequence.

use std::collections::BTreeMap;
use std::ops::Bound;

use ringkeeper::base::{Sid, Zxid};

use super::violated;

/// The sequence: for each zxid the one before it, where somebody has delivered that too.
#[derive(Default)]
pub struct TotalOrder {
    before: BTreeMap<Zxid, Option<Zxid>>,
}

impl TotalOrder {
    /// The newest transaction that any client may have seen.
    pub fn last(&self) -> Zxid {
        self.before.last_key_value().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    /// Whether it was delivered.
    pub fn contains(&self, zxid: Zxid) -> bool {
        self.before.contains_key(&zxid)
    }

    fn below(&self, zxid: Zxid) -> Option<Zxid> {
        self.before.range(..zxid).next_back().map(|(below, _)| *below)
    }

    /// A server serves from a tree at `zxid` on.
    pub fn begins(&mut self, sid: Sid, zxid: Zxid) {
        if zxid.counter() == 0 || self.before.contains_key(&zxid) {
            return;
        }
        self.refuse_between(sid, zxid);
        // What comes before it, somebody else may tell.
        self.before.insert(zxid, None);
    }

    fn refuse_between(&self, sid: Sid, zxid: Zxid) {
        let above = self.before.range((Bound::Excluded(zxid), Bound::Unbounded)).next();
        if let Some((above, Some(below))) = above
            && *below < zxid
        {
            let text = format!("server {}: {zxid}, others {above} right after {below}", sid.0);
            violated("total order", text);
        }
    }

    /// A server delivers `zxid` right after `last`. True the first time that anybody does.
    pub fn delivered(&mut self, sid: Sid, last: Zxid, zxid: Zxid) -> bool {
        if zxid <= last {
            violated("total order", format!("server {}: {zxid} after {last}", sid.0));
        }
        let last = if last.counter() == 0 { self.below(zxid).unwrap_or(Zxid::ZERO) } else { last };
        let known = self.before.get(&zxid).copied();
        let below = self.below(zxid).unwrap_or(Zxid::ZERO);
        match known {
            Some(Some(before)) if before == last => return false,
            Some(Some(before)) => {
                let text = format!("server {}: {zxid} after {last}, not {before}", sid.0);
                violated("total order", text);
            }
            _ if below != last => {
                let text = format!("server {}: {zxid} after {last}, without {below}", sid.0);
                violated("total order", text);
            }
            Some(None) => {}
            None => self.refuse_between(sid, zxid),
        }
        self.before.insert(zxid, Some(last));
        true
    }

    /// A replayed log must follow without holes too.
    pub fn replayed(last: Zxid, zxid: Zxid) {
        if zxid != last.next() && zxid.epoch() <= last.epoch() {
            violated("total order", format!("a log goes on with {zxid} after {last}"));
        }
    }

    pub fn end(&self, sid: Sid, applied: Zxid) {
        if applied != self.last() {
            let text = format!("server {} ends at {applied}, not at {}", sid.0, self.last());
            violated("total order", text);
        }
    }
}

#[test]
fn another_order_a_gap_and_an_addition() {
    let caught = |wrong: &mut dyn FnMut(&mut TotalOrder)| {
        let mut checker = TotalOrder::default();
        checker.begins(Sid(1), Zxid(0));
        assert!(checker.delivered(Sid(1), Zxid(0), Zxid(1)));
        assert!(checker.delivered(Sid(1), Zxid(1), Zxid(3)));
        assert!(!checker.delivered(Sid(2), Zxid(1), Zxid(3)));
        super::assert_caught("total order", || wrong(&mut checker));
    };
    caught(&mut |checker| assert!(checker.delivered(Sid(2), Zxid(1), Zxid(2))));
    caught(&mut |checker| assert!(checker.delivered(Sid(2), Zxid(1), Zxid(4))));
    caught(&mut |checker| assert!(checker.delivered(Sid(2), Zxid(3), Zxid(2))));
    caught(&mut |checker| checker.begins(Sid(2), Zxid(2)));
    caught(&mut |checker| checker.end(Sid(2), Zxid(1)));
    caught(&mut |_| TotalOrder::replayed(Zxid(1), Zxid(3)));
}
