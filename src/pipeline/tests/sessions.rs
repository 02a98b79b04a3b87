//! The end of a session, and what is outstanding then (data-model 5, 9.2, 11).

use super::*;
use crate::wire::txn::Txn;

const EPHEMERAL: i32 = 1;

/// The paths that a closeSession transaction lists, in order of name.
fn listed(said: &Said) -> Vec<String> {
    let (_, txn, _) = decode_txn(&said.txn).expect("our own bytes");
    let Txn::CloseSession { paths: Some(paths) } = txn else { panic!("{txn:?} lists nothing") };
    let mut listed: Vec<String> =
        paths.iter().flatten().map(|path| path.escape_ascii().to_string()).collect();
    listed.sort();
    listed
}

fn owner(world: &World, path: &str) -> Option<i64> {
    Some(world.tree.view().lookup(path.as_bytes())?.persisted().ephemeral_owner)
}

#[test]
fn outstanding_creates_go_along_and_outstanding_deletes_do_not() {
    let mut world = World::new();
    for path in ["/old", "/changed", "/gone"] {
        world.ask(OpCode::Create, &create(path, b"", EPHEMERAL));
    }
    world.submit(A, OpCode::Create, &create("/new", b"", EPHEMERAL));
    world.submit(A, OpCode::Create, &create("/brief", b"", EPHEMERAL));
    world.submit(B, OpCode::Create, &create("/other", b"", EPHEMERAL));
    world.submit(B, OpCode::SetData, &set_data(Some(b"/changed"), b"", -1));
    world.submit(B, OpCode::Delete, &delete("/gone"));
    world.submit(B, OpCode::Delete, &delete("/brief"));
    world.submit(A, OpCode::CloseSession, b"");
    let said = world.apply_all().pop().expect("closeSession");
    assert_eq!(listed(&said), ["/changed", "/new", "/old"]);
    assert!(!world.exists("/old") && !world.exists("/new") && !world.exists("/changed"));
    assert_eq!(owner(&world, "/other"), Some(B.0));
    assert!(world.prep.outstanding.is_empty());
}

#[test]
fn a_path_that_another_session_takes_over_meanwhile_is_not_closed_along() {
    let mut world = World::new();
    for path in ["/lock", "/lock2"] {
        world.ask(OpCode::Create, &create(path, b"", EPHEMERAL));
    }
    // All in flight together: the lock changes hands, then its old holder's session ends.
    world.submit(A, OpCode::Delete, &delete("/lock"));
    world.submit(B, OpCode::Create, &create("/lock", b"", EPHEMERAL));
    world.submit(A, OpCode::Delete, &delete("/lock2"));
    world.submit(B, OpCode::Create, &create("/lock2", b"", 0));
    world.submit(A, OpCode::CloseSession, b"");
    let said = world.apply_all().pop().expect("closeSession");
    assert_eq!(listed(&said), [""; 0]);
    assert_eq!(owner(&world, "/lock"), Some(B.0));
    assert_eq!(owner(&world, "/lock2"), Some(0));
}

#[test]
fn a_failed_multi_owns_nothing() {
    let mut world = World::new();
    world.ask(OpCode::Create, &create("/kept", b"", EPHEMERAL));
    let ops = [delete_op("/kept"), create_op("/made", EPHEMERAL), check_op("/kept", 0)];
    world.submit(A, OpCode::Multi, &multi(&ops));
    world.submit(A, OpCode::CloseSession, b"");
    let said = world.apply_all().pop().expect("closeSession");
    assert_eq!(listed(&said), ["/kept"]);
    assert!(!world.exists("/kept"));
}

#[test]
fn a_closing_session_is_dropped_and_may_be_closed_again() {
    let mut world = World::new();
    world.submit(A, OpCode::CloseSession, b"");
    let create = create("/late", b"", EPHEMERAL);
    assert_eq!(world.prepare(A, OpCode::Create.code(), &create), Outcome::Dropped);
    // The expiry may have asked at the same time.
    world.submit(A, OpCode::CloseSession, b"");
    world.apply_all();
    assert_eq!(world.prepare(A, OpCode::CloseSession.code(), b""), Outcome::Dropped);
    assert_eq!(world.prepare(SessionId(77), OpCode::Create.code(), &create), Outcome::Dropped);
    assert_eq!((world.sessions.contains(A), world.sessions.contains(B)), (false, true));
    assert_eq!((world.applier.sessions_created, world.applier.sessions_closed), (2, 2));
}

#[test]
fn without_a_record_the_owner_decides() {
    let mut world = World::with(PrepOptions { close_session_txn: false, ..options() });
    world.ask(OpCode::Create, &create("/old", b"", EPHEMERAL));
    world.submit(A, OpCode::Create, &create("/new", b"", EPHEMERAL));
    world.submit(A, OpCode::CloseSession, b"");
    let said = world.apply_all().pop().expect("closeSession");
    assert_eq!((said.err, said.body.len()), (0, 0));
    assert!(!world.exists("/old") && !world.exists("/new"));
    // The header alone: a digest behind it would be taken for a list by who expects one, and the reverse.
    assert_eq!(said.txn.len(), 32);
}

#[test]
fn events_of_each_path_come_together_and_the_reply_comes_last() {
    let mut world = World::new();
    world.node("/d");
    for path in ["/d/one", "/d/two", "/top"] {
        world.ask(OpCode::Create, &create(path, b"", EPHEMERAL));
    }
    let said = world.ask(OpCode::CloseSession, b"");
    let (reply, events) = said.told.split_last().expect("a reply");
    assert_eq!(reply, "reply");
    let mut pairs: Vec<&[String]> = events.chunks(2).collect();
    pairs.sort();
    let expected = [
        ["deleted /d/one", "children /d"],
        ["deleted /d/two", "children /d"],
        ["deleted /top", "children /"],
    ];
    assert_eq!(pairs, expected);
}

#[test]
fn a_server_request_needs_no_session() {
    let mut world = World::new();
    world.ask(OpCode::CreateContainer, &create("/c", b"", 4));
    let mut body = Vec::new();
    body.put_buffer(Some(b"/c"));
    world.submit(SessionId::NONE, OpCode::DeleteContainer, &body);
    let said = world.apply_all().pop().expect("deleteContainer");
    assert_eq!(
        (said.err, said.told),
        (0, ["deleted /c", "children /", "reply"].map(String::from).into())
    );
}

#[test]
fn a_local_session_writes_unknown_and_owns_nothing() {
    let mut world = World::new();
    let local = SessionId(77);
    let ask = |world: &mut World, op, body: &[u8]| {
        world.submit(local, op, body);
        world.apply_all().pop().expect("what was submitted")
    };
    for code in [ErrorCode::EphemeralOnLocalSession, ErrorCode::SessionExpired] {
        world.local = Some(code);
        let path = format!("/kept{}", code.code());
        assert_eq!(ask(&mut world, OpCode::Create, &create(&path, b"", 0)).err, 0);
        for flags in [1, 3] {
            let before = world.prep.last_zxid();
            let said = ask(&mut world, OpCode::Create2, &create("/e", b"", flags));
            assert_eq!((said.err, said.zxid), (code.code(), before.next()));
        }
        // The first of two goes back with the second.
        let said =
            ask(&mut world, OpCode::Multi, &multi(&[create_op("/m", 0), create_op("/e", 1)]));
        assert_eq!(said.body[said.body.len() - 13..][..4], code.code().to_be_bytes());
        assert!(!world.exists("/m") && !world.exists("/e"));
    }
    world.local = None;
    assert_eq!(world.prepare(local, OpCode::Delete.code(), &delete("/kept")), Outcome::Dropped);
}

#[test]
fn requests_that_make_ephemerals() {
    let makes = |op: OpCode, body: &[u8]| Prep::makes_ephemeral(op.code(), body);
    for op in [OpCode::Create, OpCode::Create2] {
        let flags = (0..8).filter(|flags| makes(op, &create("/n", b"", *flags)));
        assert_eq!(flags.collect::<Vec<_>>(), [1, 3], "{op:?}");
        assert!(!makes(op, b"broken"));
    }
    let one = |flags| multi(&[delete_op("/a"), create_op("/b", flags), check_op("/c", 1)]);
    assert!(makes(OpCode::Multi, &one(1)) && makes(OpCode::Multi, &one(3)));
    assert!(!makes(OpCode::Multi, &one(0)) && !makes(OpCode::Multi, &one(4)));
    assert!(!makes(OpCode::CreateContainer, &create("/n", b"", 1)));
    assert!(!makes(OpCode::SetData, &create("/n", b"", 1)));
    assert!(!Prep::makes_ephemeral(4711, &create("/n", b"", 1)));
}
