//! Digests: the same tree at the same zxid on every server, the one that the leader foresaw, also when it is replayed.

use std::collections::BTreeMap;

use ringkeeper::base::{Sid, Zxid};

use super::violated;

#[derive(Default)]
pub struct Digests {
    at: BTreeMap<Zxid, (u64, Sid)>,
}

impl Digests {
    pub fn at(&mut self, sid: Sid, zxid: Zxid, digest: u64) {
        let (first, by) = *self.at.entry(zxid).or_insert((digest, sid));
        if first != digest {
            violated("digests", format!("servers {} and {} differ at {zxid}", by.0, sid.0));
        }
    }

    /// What a server has counted itself against the digests in transactions.
    pub fn counted(&self, sid: Sid, zxid: Zxid, mismatches: u64) {
        if mismatches > 0 {
            violated("digests", format!("server {}: not what was proposed, at {zxid}", sid.0));
        }
    }

    /// What replaying a log came to.
    pub fn replayed(zxid: Zxid, mismatches: u64) {
        if mismatches > 0 {
            violated("digests", format!("replay gives another tree than was logged, at {zxid}"));
        }
    }
}

#[test]
fn another_digest() {
    let mut checker = Digests::default();
    checker.at(Sid(1), Zxid(1), 7);
    checker.at(Sid(2), Zxid(1), 7);
    super::assert_caught("digests", || checker.at(Sid(3), Zxid(1), 8));
    super::assert_caught("digests", || checker.counted(Sid(3), Zxid(1), 1));
    super::assert_caught("digests", || Digests::replayed(Zxid(1), 1));
}
