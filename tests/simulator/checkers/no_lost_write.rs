//! No lost write: whatever was acknowledged to a client is in the history of every leader from then on.

use std::collections::BTreeMap;

use ringkeeper::base::{Sid, Zxid};

use super::violated;

#[derive(Default)]
pub struct NoLostWrite {
    acknowledged: BTreeMap<Zxid, String>,
}

impl NoLostWrite {
    pub fn acknowledged(&mut self, zxid: Zxid, what: &str) {
        if let Some(other) = self.acknowledged.insert(zxid, what.to_owned())
            && other != what
        {
            violated("no lost write", format!("{zxid} acknowledged for {other} and for {what}"));
        }
    }

    pub fn count(&self) -> usize {
        self.acknowledged.len()
    }

    /// The newest zxid that a client was told.
    pub fn last(&self) -> Zxid {
        self.acknowledged.last_key_value().map_or(Zxid::ZERO, |(zxid, _)| *zxid)
    }

    pub fn leads(&self, sid: Sid, epoch: i64, applied: Zxid) {
        let earlier = self.acknowledged.range(..Zxid(epoch << 32)).next_back();
        if let Some((zxid, what)) = earlier
            && *zxid > applied
        {
            let text = format!("server {} leads from {applied} without {zxid}: {what}", sid.0);
            violated("no lost write", text);
        }
    }

    pub fn end(&self, sid: Sid, applied: Zxid) {
        if self.last() > applied {
            violated("no lost write", format!("server {} ends at {applied}", sid.0));
        }
    }
}

#[test]
fn a_leader_without_what_was_acknowledged() {
    let mut checker = NoLostWrite::default();
    let epoch = 1 << 32;
    checker.acknowledged(Zxid(epoch + 1), "a");
    checker.leads(Sid(1), 2, Zxid(epoch + 1));
    checker.end(Sid(1), Zxid(epoch + 1));
    super::assert_caught("no lost write", || checker.leads(Sid(1), 2, Zxid(epoch)));
    super::assert_caught("no lost write", || checker.end(Sid(1), Zxid(epoch)));
    super::assert_caught("no lost write", || checker.acknowledged(Zxid(epoch + 1), "b"));
}
