//! Agreement: one transaction for each zxid, the same bytes on every server.

use std::collections::BTreeMap;

use ringkeeper::base::{Sid, Zxid};

use super::violated;

#[derive(Default)]
pub struct Agreement {
    txns: BTreeMap<Zxid, (Vec<u8>, Sid)>,
}

impl Agreement {
    pub fn delivered(&mut self, sid: Sid, zxid: Zxid, bytes: &[u8]) {
        let (first, by) = self.txns.entry(zxid).or_insert_with(|| (bytes.to_vec(), sid));
        if first != bytes {
            violated("agreement", format!("servers {} and {} differ at {zxid}", by.0, sid.0));
        }
    }
}

#[test]
fn two_transactions_under_one_zxid() {
    let mut checker = Agreement::default();
    checker.delivered(Sid(1), Zxid(1), b"a");
    checker.delivered(Sid(2), Zxid(1), b"a");
    super::assert_caught("agreement", || checker.delivered(Sid(3), Zxid(1), b"b"));
}
