//! Against bytes captured from Apache ZooKeeper 3.9.5.

use super::*;
use crate::wire::log_format::{LogItem, RECORD_BYTES_MAX_DEFAULT, RecordReader};
use crate::wire::txn::{CreateMode, CreateTxn, SetAclTxn, Txn, TxnHeader};

const LOG: &[u8] = include_bytes!("../../../tests/golden/disk/log.1.zk3.9.5");

/// The digest after its last transaction, as that server reported it.
const LAST_DIGEST: u64 = 0x4_9c52_3113;

fn records() -> Vec<(TxnHeader, &'static [u8])> {
    let mut reader = RecordReader::new(LOG, RECORD_BYTES_MAX_DEFAULT).expect("a log file");
    let mut records = Vec::new();
    loop {
        match reader.read() {
            LogItem::Record(record) => records.push((record.header, record.payload)),
            LogItem::CleanEnd { .. } => return records,
            other => panic!("the sample is whole, not {other:?}"),
        }
    }
}

#[test]
fn the_sample_log_gives_the_tree_that_apache_had() {
    let mut tree = fresh_tree(true);
    let mut sessions = SessionTracker::new(2000);
    let mut applier = Applier::replaying(Zxid::ZERO);
    let mut batch = CommitBatch::default();
    for (header, payload) in records() {
        tree.begin();
        applier.apply(&mut tree, &mut sessions, payload, None, &mut batch).expect("a transaction");
        tree.publish(header.zxid);
        assert_eq!(applier.digest_mismatches, 0, "after {}", header.zxid);
    }
    assert_eq!(tree.digest(), LAST_DIGEST);
    assert_eq!((applier.sessions_created, applier.sessions_closed), (3, 2));
    assert!(batch.items.is_empty(), "nobody hears of a replay");
}

#[test]
fn digests_below_the_first_zxid_are_not_compared() {
    let (header, payload) = records()[1];
    let mut wrong = payload.to_vec();
    *wrong.last_mut().expect("a digest") ^= 1;
    for (from, mismatches) in [(Zxid::ZERO, 1), (header.zxid, 1), (header.zxid.next(), 0)] {
        let (mut tree, mut sessions) = (fresh_tree(true), SessionTracker::new(2000));
        let mut applier = Applier::replaying(from);
        let mut batch = CommitBatch::default();
        tree.begin();
        applier.apply(&mut tree, &mut sessions, &wrong, None, &mut batch).expect("a transaction");
        assert_eq!(applier.digest_mismatches, mismatches, "comparing from {from}");
    }
}

fn create_request(txn: &CreateTxn<'_>, flags: i32) -> Vec<u8> {
    let flags = match txn.mode {
        CreateMode::Persistent => flags,
        CreateMode::Ephemeral => 1,
        CreateMode::Container => 4,
        CreateMode::Ttl(_) => 5,
    };
    let ttl = if let CreateMode::Ttl(ttl) = txn.mode { ttl } else { -1 };
    let path = if flags == 2 { &txn.path[..txn.path.len() - 10] } else { txn.path };
    let request = CreateRequest {
        op: txn.op,
        path: Some(path),
        data: txn.data,
        acl: Some(txn.acl),
        flags,
        ttl,
    };
    let mut body = Vec::new();
    request.encode(&mut body);
    body
}

/// The request that Apache made this transaction of (the sample's description lists them).
fn request_for(header: TxnHeader, txn: &Txn<'_>) -> (OpCode, Vec<u8>) {
    let sequential = if header.zxid == Zxid(6) { 2 } else { 0 };
    match (header.zxid.0, txn) {
        (8, _) => (OpCode::Create, create("/a", b"again", 0)),
        (13, _) => {
            let create = |path| {
                let MultiOp::Create(mut request) = create_op(path, 0) else { panic!("a create") };
                request.data = Some(b"1");
                MultiOp::Create(request)
            };
            let set = SetDataRequest { path: Some(b"/m"), data: Some(b"2"), version: -1 };
            let ops = [
                create("/m"),
                MultiOp::SetData(set),
                check_op("/m", 1),
                delete_op("/s-0000000004"),
            ];
            (OpCode::Multi, multi(&ops))
        }
        (14, Txn::Multi(failed)) => {
            let first = failed.iter().next().expect("the refused multi's create");
            let sub = Txn::decode(first.op, &mut Reader::new(first.data)).expect("its record");
            let Txn::Create(made) = sub else { panic!("not a create: {sub:?}") };
            let MultiOp::Create(mut request) = create_op("/m2", 0) else { panic!("a create") };
            request.data = made.data;
            let ops = [MultiOp::Create(request), check_op("/m", 77), set_op("/m", -1)];
            (OpCode::Multi, multi(&ops))
        }
        (16, _) => (OpCode::Delete, path_version(Some(b"/a/k"), 9)),
        (18, _) => (OpCode::Create, create("/a/e", b"", 1)),
        (_, Txn::Create(made)) => (made.op, create_request(made, sequential)),
        (_, Txn::Delete { path }) => (OpCode::Delete, path_version(Some(path), -1)),
        (_, Txn::SetData(set)) => {
            (OpCode::SetData, set_data(Some(set.path), set.data.unwrap_or_default(), -1))
        }
        (_, Txn::SetAcl(SetAclTxn { path, acl, .. })) => {
            (OpCode::SetAcl, set_acl(Some(path), acl.as_bytes(), -1))
        }
        (_, Txn::CloseSession { .. }) => (OpCode::CloseSession, Vec::new()),
        (zxid, other) => panic!("no request for 0x{zxid:x}: {other:?}"),
    }
}

/// The same requests at the same times, several in flight: byte for byte the transactions that Apache logged, error
/// transactions, failed multi and digests included.
#[test]
fn the_same_requests_give_the_transactions_that_apache_logged() {
    for depth in [1, 3] {
        let mut world = World::over(fresh_tree(true), options());
        for (header, payload) in records() {
            let (_, txn, _) = decode_txn(payload).expect("a transaction");
            if let Txn::CreateSession { timeout_ms } = txn {
                let mut made = Vec::new();
                world.sessions.create(header.session, timeout_ms, 0);
                world.prep.create_session(header.time, header.session, timeout_ms, &mut made);
                world.pending.push_back(made);
            } else {
                let (op, body) = request_for(header, &txn);
                (world.cxid, world.now) = (header.cxid - 1, header.time - 1);
                assert_eq!(world.submit(header.session, op, &body), header.zxid);
            }
            assert_eq!(
                world.pending.back().map(Vec::as_slice),
                Some(payload),
                "transaction {}: {txn:?}",
                header.zxid
            );
            if world.pending.len() >= depth {
                world.apply();
            }
        }
        world.apply_all();
        assert_eq!(world.tree.digest(), LAST_DIGEST);
    }
}

/// The requests of client-protocol 17, without their headers, and the replies' bodies.
#[test]
fn reference_replies() {
    let mut world = World::over(fresh_tree(true), options());
    world.open(A);
    let body = "00000002 2f61 00000002 6869 00000001 0000001f 00000005 776f726c64
        00000006 616e796f6e65 00000000";
    let said = world.ask(OpCode::Create, &hex(body));
    assert_eq!((said.zxid, said.err, said.body), (Zxid(2), 0, hex("00000002 2f61")));
    assert_eq!(said.told, ["created /a", "children /", "reply"]);
    let said = world.ask(OpCode::Create, &hex(body));
    assert_eq!((said.zxid, said.err, said.body.len()), (Zxid(3), -110, 0));
    assert_eq!(said.told, ["reply"]);
    let said = world.ask(OpCode::SetData, &hex("00000002 2f61 00000001 78 00000000"));
    let mut stat = hex("0000000000000002 0000000000000004");
    stat.extend((world.now - 2).to_be_bytes());
    stat.extend(world.now.to_be_bytes());
    stat.extend(hex("00000001 00000000 00000000 0000000000000000 00000001 00000000"));
    stat.extend(hex("0000000000000002"));
    assert_eq!((said.zxid, said.err, said.body), (Zxid(4), 0, stat));
    assert_eq!(said.told, ["changed /a", "reply"]);
    let body = "0000000d 00 ffffffff 00000002 2f61 00000007
        00000002 00 ffffffff 00000002 2f61 ffffffff  ffffffff 01 ffffffff";
    let said = world.ask(OpCode::Multi, &hex(body));
    let reply = "ffffffff 00 ffffff99 ffffff99   ffffffff 00 fffffffe fffffffe
        ffffffff 01 ffffffff";
    assert_eq!((said.zxid, said.err, said.body), (Zxid(5), 0, hex(reply)));
    assert_eq!(said.told, ["reply"]);
    let said = world.ask(OpCode::Delete, &hex("00000002 2f61 ffffffff"));
    assert_eq!((said.err, said.body.len()), (0, 0));
    assert_eq!(said.told, ["deleted /a", "children /", "reply"]);
}
