//! All or nothing, and what a multi answers (client-protocol 9).

use super::*;

/// The Stat of a node as a reply carries it.
fn stat(world: &World, path: &str) -> Vec<u8> {
    let mut out = Vec::new();
    world.tree.view().lookup(path.as_bytes()).expect("a node").stat().encode(&mut out);
    out
}

#[test]
fn every_result_of_a_successful_multi() {
    let mut world = World::new();
    let request = |op, path: &'static [u8], flags, ttl| {
        let (path, data, acl) = (Some(path), Some(&b"m"[..]), Some(OPEN_ACL_UNSAFE));
        MultiOp::Create(CreateRequest { op, path, data, acl, flags, ttl })
    };
    let ops = [
        create_op("/a", 0),
        request(OpCode::Create2, b"/b", 0, -1),
        request(OpCode::CreateContainer, b"/c", 4, -1),
        request(OpCode::CreateTtl, b"/d", 5, 1000),
        create_op("/gone", 0),
        set_op("/gone", 0),
        check_op("/gone", 1),
        delete_op("/gone"),
        set_op("/a", 0),
    ];
    let said = world.ask(OpCode::Multi, &multi(&ops));
    assert_eq!(said.err, 0);
    let mut expected = hex("00000001 00 00000000 00000002 2f61");
    for (path, name) in [("/b", "62"), ("/c", "63"), ("/d", "64")] {
        expected.extend(hex(&format!("0000000f 00 00000000 00000002 2f{name}")));
        expected.extend(stat(&world, path));
    }
    expected.extend(hex("00000001 00 00000000 00000005 2f676f6e65"));
    expected.extend(hex("00000005 00 00000000"));
    let tail_start = expected.len();
    // The Stat of a node that is gone again: all that differs from /a's is the number of children of nobody.
    expected.extend(stat(&world, "/a"));
    expected.extend(hex("0000000d 00 00000000  00000002 00 00000000  00000005 00 00000000"));
    expected.extend(stat(&world, "/a"));
    expected.extend(hex("ffffffff 01 ffffffff"));
    assert_eq!(said.body[..tail_start], expected[..tail_start]);
    assert_eq!(said.body, expected);
    let told = [
        "created /a",
        "children /",
        "created /b",
        "children /",
        "created /c",
        "children /",
        "created /d",
        "children /",
        "created /gone",
        "children /",
        "changed /gone",
        "deleted /gone",
        "children /",
        "changed /a",
        "reply",
    ];
    assert_eq!(said.told, told);
}

#[test]
fn an_empty_multi_is_a_transaction() {
    let mut world = World::new();
    let said = world.ask(OpCode::Multi, &multi(&[]));
    assert_eq!((said.err, said.body), (0, hex("ffffffff 01 ffffffff")));
    assert_eq!(said.told, ["reply"]);
}

#[test]
fn entries_before_the_refused_one_carry_zero_and_later_ones_inconsistency() {
    let mut world = World::new();
    world.node("/kept");
    let ops = [create_op("/a", 0), delete_op("/kept"), delete_op("/a/no"), create_op("/b", 0)];
    let said = world.ask(OpCode::Multi, &multi(&ops));
    let expected = "ffffffff 00 00000000 00000000  ffffffff 00 00000000 00000000
        ffffffff 00 ffffff9b ffffff9b  ffffffff 00 fffffffe fffffffe  ffffffff 01 ffffffff";
    assert_eq!((said.err, said.body), (0, hex(expected)));
    assert_eq!(said.told, ["reply"]);
    assert!(world.exists("/kept") && !world.exists("/a") && !world.exists("/b"));
}

#[test]
fn a_failed_multi_restores_what_was_outstanding_before_it() {
    let mut world = World::new();
    world.node("/d");
    world.submit(A, OpCode::Create, &create("/d/x", b"", 0));
    world.submit(A, OpCode::SetData, &set_data(Some(b"/d/x"), b"one", 0));
    let digest = world.prep.digest();
    let ops = [
        set_op("/d/x", 1),
        set_op("/d/x", 2),
        create_op("/d/x/y", 0),
        create_op("/d/z", 0),
        delete_op("/d/z"),
        delete_op("/d/x/y"),
        delete_op("/d/x"),
        create_op("/d/x", 1),
        check_op("/d/x", 77),
    ];
    world.submit(B, OpCode::Multi, &multi(&ops));
    assert_eq!(world.prep.digest(), digest, "a failed multi leaves the digest as it was");
    // Still version 1, still a parent to be, and /d/z was never there.
    world.submit(A, OpCode::SetData, &set_data(Some(b"/d/x"), b"two", 1));
    world.submit(A, OpCode::Create, &create("/d/x/y", b"", 0));
    world.submit(A, OpCode::Delete, &delete("/d/x"));
    world.submit(A, OpCode::Delete, &delete("/d/z"));
    let codes: Vec<i32> = world.apply_all().iter().map(|said| said.err).collect();
    assert_eq!(codes, [0, 0, 0, 0, 0, -111, -101]);
    assert!(world.prep.outstanding.is_empty());
    let node = world.tree.view();
    let node = node.lookup(b"/d/x").expect("/d/x");
    assert_eq!((node.persisted().version, node.data()), (2, Some(&b"two"[..])));
}

#[test]
fn a_pipeline_behaves_as_if_each_had_been_applied() {
    let mut world = World::new();
    world.submit(A, OpCode::Create, &create("/p", b"", 0));
    world.submit(A, OpCode::Create, &create("/p/c", b"", 0));
    world.submit(A, OpCode::Delete, &delete("/p"));
    world.submit(A, OpCode::SetAcl, &set_acl(Some(b"/p"), &sealed_acl(), 0));
    world.submit(A, OpCode::Delete, &delete("/p/c"));
    world.submit(A, OpCode::SetData, &set_data(Some(b"/p"), b"", -1));
    let codes: Vec<i32> = world.apply_all().iter().map(|said| said.err).collect();
    assert_eq!(codes, [0, 0, -111, 0, -102, -102]);
}

/// Applying one transaction forgets only what that transaction did.
#[test]
fn applying_keeps_later_changes_outstanding() {
    let mut world = World::new();
    world.submit(A, OpCode::Create, &create("/p", b"", 0));
    world.submit(A, OpCode::SetData, &set_data(Some(b"/p"), b"", 0));
    world.submit(A, OpCode::Delete, &delete("/p"));
    world.apply();
    world.submit(A, OpCode::SetData, &set_data(Some(b"/p"), b"", -1));
    world.apply();
    world.submit(A, OpCode::Create, &create("/p", b"again", 0));
    world.submit(A, OpCode::SetData, &set_data(Some(b"/p"), b"", 0));
    let codes: Vec<i32> = world.apply_all().iter().map(|said| said.err).collect();
    assert_eq!(codes, [0, -101, 0, 0]);
    assert!(world.prep.outstanding.is_empty());
}
