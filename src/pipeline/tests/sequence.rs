//! Sequential names (data-model 3).

use super::*;
use crate::tree::Create;

const SEQUENTIAL: i32 = 2;

#[test]
fn every_create_counts_and_nothing_else() {
    let mut world = World::new();
    world.node("/s");
    for n in 0..3 {
        let said = world.ask(OpCode::Create, &create("/s/n-", b"", SEQUENTIAL));
        assert_eq!(said.path(), format!("/s/n-{n:010}"));
    }
    assert_eq!(world.code(OpCode::Delete, &delete("/s/n-0000000001")), 0);
    assert_eq!(world.code(OpCode::Create, &create("/s/n-0000000002", b"", 0)), -110);
    world.node("/s/plain");
    let said = world.ask(OpCode::Create2, &create("/s/", b"", SEQUENTIAL));
    assert_eq!(said.path(), "/s/0000000004");
}

#[test]
fn pending_creates_count_and_those_of_a_failed_multi_do_not() {
    let mut world = World::new();
    world.node("/s");
    let sequential = create("/s/n-", b"", SEQUENTIAL);
    world.submit(A, OpCode::Create, &sequential);
    let ok = multi(&[create_op("/s/m-", SEQUENTIAL), create_op("/s/m-", SEQUENTIAL)]);
    world.submit(B, OpCode::Multi, &ok);
    let failing = multi(&[create_op("/s/m-", SEQUENTIAL), check_op("/s", 77)]);
    world.submit(B, OpCode::Multi, &failing);
    world.submit(A, OpCode::Create, &sequential);
    let said = world.apply_all();
    assert_eq!(said[0].path(), "/s/n-0000000000");
    assert!(world.exists("/s/m-0000000001") && world.exists("/s/m-0000000002"));
    assert_eq!(said[3].path(), "/s/n-0000000003");
}

/// `/s` with a counter of 2147483647.
fn worn_out() -> World {
    let mut tree = fresh_tree(true);
    tree.begin();
    let node = |path, parent_cversion| Create {
        path,
        data: Some(b""),
        acl: OPEN_ACL_UNSAFE,
        owner: 0,
        zxid: Zxid(1),
        time: 1,
        parent_cversion,
    };
    tree.create(&node(b"/s", 1)).expect("a fresh node");
    tree.create(&node(b"/s/first", i32::MAX)).expect("a fresh node");
    tree.publish(Zxid(1));
    let mut world = World::over(tree, options());
    world.open(A);
    world
}

#[test]
fn an_applied_overflow_freezes_the_counter() {
    let mut world = worn_out();
    let sequential = create("/s/n-", b"", SEQUENTIAL);
    assert_eq!(world.ask(OpCode::Create, &sequential).path(), "/s/n-2147483647");
    let stat = |world: &World| world.tree.view().lookup(b"/s").expect("/s").persisted();
    assert_eq!((stat(&world).cversion, stat(&world).pzxid), (i32::MAX, 1));
    assert_eq!(world.code(OpCode::Create, &sequential), -110);
    let said = world.ask(OpCode::Create, &create("/s/other-", b"", SEQUENTIAL));
    assert_eq!(said.path(), "/s/other-2147483647");
    world.node("/s/plain");
    assert_eq!((stat(&world).cversion, stat(&world).pzxid), (i32::MAX, 1));
    // A delete still shows in pzxid.
    assert_eq!(world.code(OpCode::Delete, &delete("/s/plain")), 0);
    assert!(stat(&world).pzxid > 1);
}

#[test]
fn a_pending_overflow_counts_on() {
    let mut world = worn_out();
    let ops = [create_op("/s/n-", SEQUENTIAL), create_op("/s/n-", SEQUENTIAL)];
    world.submit(A, OpCode::Multi, &multi(&ops));
    world.submit(A, OpCode::Create, &create("/s/n-", b"", SEQUENTIAL));
    for said in world.apply_all() {
        assert_eq!(said.err, 0);
    }
    for path in ["/s/n-2147483647", "/s/n--2147483648", "/s/n--2147483647"] {
        assert!(world.exists(path), "{path}");
    }
}
