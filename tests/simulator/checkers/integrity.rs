//! Integrity: only what the leader of its epoch has proposed is delivered, byte for byte; and a request of a client
//! becomes a transaction only if the client has made it, and once.

use std::collections::{BTreeMap, BTreeSet};

use ringkeeper::base::{SessionId, Zxid};
use ringkeeper::wire::OpCode;
use ringkeeper::wire::txn::{Txn, TxnHeader};

use super::violated;

#[derive(Default)]
pub struct Integrity {
    proposed: BTreeMap<Zxid, Vec<u8>>,
    asked: BTreeMap<(SessionId, i32), (i32, String)>,
    answered: BTreeSet<(SessionId, i32)>,
}

impl Integrity {
    pub fn proposed(&mut self, zxid: Zxid, bytes: &[u8]) {
        let first = self.proposed.entry(zxid).or_insert_with(|| bytes.to_vec());
        if first != bytes {
            violated("integrity", format!("{zxid} is proposed twice, with other bytes"));
        }
    }

    /// A client sends a write.
    pub fn asked(&mut self, session: SessionId, cxid: i32, op: OpCode, path: &str) {
        self.asked.insert((session, cxid), (op.code(), path.to_owned()));
    }

    /// The first delivery of a transaction.
    pub fn delivered(&mut self, header: &TxnHeader, txn: &Txn<'_>, bytes: &[u8]) {
        let zxid = header.zxid;
        match self.proposed.get(&zxid) {
            None => violated("integrity", format!("{zxid} was never proposed")),
            Some(proposed) if proposed != bytes => {
                violated("integrity", format!("{zxid} is not what was proposed"));
            }
            Some(_) => {}
        }
        // A server's own: sessions made and expired.
        if header.cxid == 0 {
            return;
        }
        let key = (header.session, header.cxid);
        let path = match txn {
            Txn::Create(create) => Some(create.path),
            Txn::SetData(set) => Some(set.path),
            Txn::Delete { path } => Some(*path),
            _ => None,
        };
        let Some((op, asked)) = self.asked.get(&key) else {
            violated("integrity", format!("{zxid}: session {} never asked for it", key.0));
        };
        let same_op = *op == header.op || header.op == OpCode::Error.code();
        if !same_op || path.is_some_and(|path| path != asked.as_bytes()) {
            violated("integrity", format!("{zxid}: not what session {} has asked for", key.0));
        }
        if !self.answered.insert(key) {
            let text = format!("{zxid}: session {} asked once for request {}", key.0, key.1);
            violated("integrity", text);
        }
    }
}

#[test]
fn unproposed_unasked_other_and_doubled() {
    let header = |zxid, cxid, op: OpCode| TxnHeader {
        session: SessionId(1),
        cxid,
        zxid: Zxid(zxid),
        time: 0,
        op: op.code(),
    };
    let delete = Txn::Delete { path: b"/a" };
    let caught = |zxid, cxid, op, txn: &Txn<'_>, bytes: &[u8]| {
        let mut checker = Integrity::default();
        checker.asked(SessionId(1), 1, OpCode::Delete, "/a");
        (1..4).for_each(|zxid| checker.proposed(Zxid(zxid), b"x"));
        checker.delivered(&header(1, 1, OpCode::Delete), &delete, b"x");
        let wrong = || checker.delivered(&header(zxid, cxid, op), txn, bytes);
        super::assert_caught("integrity", wrong);
    };
    caught(4, 2, OpCode::Delete, &delete, b"x");
    caught(2, 2, OpCode::Delete, &delete, b"x");
    caught(2, 1, OpCode::Delete, &delete, b"x");
    caught(2, 1, OpCode::SetData, &delete, b"x");
    caught(2, 1, OpCode::Delete, &Txn::Delete { path: b"/b" }, b"x");
    caught(2, 1, OpCode::Delete, &delete, b"y");
    let mut checker = Integrity::default();
    checker.proposed(Zxid(1), b"x");
    super::assert_caught("integrity", || checker.proposed(Zxid(1), b"y"));
}
