//! Which refusal wins (data-model 6): every case breaks its own row and, where possible, rows below it too.

use super::*;
use crate::wire::acl::perms;

const NO_ACL: &[u8] = &[0; 4];
const NULL_ACL: &[u8] = &[0xff; 4];

/// `/p` with child `/p/plain` and [`A`]'s ephemeral `/p/eph`; `/sealed` and `/sealed/kid`, of which nobody may do
/// anything; `/q` with an ephemeral and a hard limit that is reached.
fn world(extended_types: bool) -> World {
    let mut world = World::with(PrepOptions { extended_types, enforce_quota: true, ..options() });
    for path in ["/p", "/p/plain", "/sealed", "/sealed/kid", "/q", "/zookeeper/quota/q"] {
        world.node(path);
    }
    for path in ["/p/eph", "/q/eph"] {
        assert_eq!(world.code(OpCode::Create, &create(path, b"", 1)), 0);
    }
    let limits = b"count=-1,bytes=-1=;byteHardLimit=1;countHardLimit=2";
    let limits = create("/zookeeper/quota/q/zookeeper_limits", limits, 0);
    assert_eq!(world.code(OpCode::Create, &limits), 0);
    let usage = create("/zookeeper/quota/q/zookeeper_stats", b"count=0,bytes=0", 0);
    assert_eq!(world.code(OpCode::Create, &usage), 0);
    for path in [&b"/sealed/kid"[..], b"/sealed"] {
        assert_eq!(world.code(OpCode::SetAcl, &set_acl(Some(path), &sealed_acl(), -1)), 0);
    }
    world
}

fn null_id_acl() -> Vec<u8> {
    acl_list(&[AclEntry { perms: perms::ALL, scheme: Some(b"world"), id: None }])
}

fn null_scheme_acl() -> Vec<u8> {
    acl_list(&[AclEntry { perms: perms::ALL, scheme: None, id: Some(b"anyone") }])
}

fn open() -> &'static [u8] {
    OPEN_ACL_UNSAFE.as_bytes()
}

struct Case {
    row: &'static str,
    op: OpCode,
    body: Vec<u8>,
    code: i32,
}

fn case(row: &'static str, op: OpCode, body: Vec<u8>, code: i32) -> Case {
    Case { row, op, body, code }
}

/// Refused cases change nothing; each takes exactly one zxid unless `free`.
fn check_all(world: &mut World, cases: &[Case]) {
    let (before, digest) = (dump(&world.tree), world.tree.digest());
    for Case { row, op, body, code } in cases {
        let last = world.prep.last_zxid();
        assert_eq!(world.code(*op, body), *code, "{op:?}: {row}");
        assert_eq!(
            world.prep.last_zxid(),
            last.next(),
            "{op:?}: {row}: a refused write takes a zxid"
        );
        let txn = world.log.last().expect("an error transaction");
        let header = decode_txn(txn).expect("our own bytes").0;
        assert_eq!(header.op, OpCode::Error.code(), "{op:?}: {row}");
        assert_eq!(txn[32..], code.to_be_bytes(), "{op:?}: {row}: the code and no digest");
        assert!(world.prep.outstanding.is_empty(), "{op:?}: {row}: leaves something outstanding");
    }
    assert_eq!(dump(&world.tree), before);
    assert_eq!(world.tree.digest(), digest);
}

fn create_case(row: &'static str, path: Option<&str>, acl: &[u8], flags: i32, code: i32) -> Case {
    let path = path.map(str::as_bytes);
    case(row, OpCode::Create, create_raw(path, b"too much", acl, flags, -1), code)
}

#[test]
fn create_refuses_in_the_order_of_the_reference() {
    let ttl = |row, path: Option<&str>, flags, ttl, code| {
        let body = create_raw(path.map(str::as_bytes), b"", NO_ACL, flags, ttl);
        case(row, OpCode::CreateTtl, body, code)
    };
    let cases = [
        create_case("flags before a null path", None, NO_ACL, 7, -8),
        create_case("flags before a null path", None, NO_ACL, -1, -8),
        ttl("time to live before a null path", None, 5, 0, -8),
        ttl("time to live before a null path", None, 6, 1 << 40, -8),
        ttl("a time to live without its mode", None, 0, 5, -8),
        create_case("a TTL flag without a time to live", None, NO_ACL, 5, -8),
        create_case("null path before the ACL", None, NO_ACL, 0, -5),
        create_case("no slash before the ACL", Some("noslash"), NO_ACL, 0, -8),
        create_case("NUL before the ACL", Some("/p/a\0b"), NO_ACL, 0, -8),
        create_case("empty ACL before the parent", Some("/missing/x"), NO_ACL, 0, -114),
        create_case("null ACL before the parent", Some("/missing/x"), NULL_ACL, 0, -114),
        create_case("ACL before an existing node", Some("/p/plain"), NO_ACL, 0, -114),
        create_case("null scheme", Some("/missing/x"), &null_scheme_acl(), 0, -114),
        create_case("null id inside the ACL", Some("/missing/x"), &null_id_acl(), 0, -5),
        create_case("parent before the name", Some("/missing/.."), open(), 0, -101),
        create_case("permission before the name", Some("/sealed/.."), open(), 0, -102),
        create_case("permission before an existing node", Some("/sealed/kid"), open(), 0, -102),
        create_case("name before an ephemeral parent", Some("/p/eph/.."), open(), 0, -8),
        create_case("trailing slash", Some("/p/x/"), open(), 0, -101),
        create_case("existing node", Some("/p/plain"), open(), 0, -110),
        create_case("existing node before the quota", Some("/q/eph"), open(), 0, -110),
        create_case("ephemeral parent before the quota", Some("/q/eph/x"), open(), 0, -108),
        create_case("hard quota", Some("/q/x"), open(), 0, -125),
    ];
    check_all(&mut world(true), &cases);
    let cases = [
        ttl("extended types before the time to live", None, 5, 0, -6),
        create_case("extended types before the time to live", None, NO_ACL, 5, -6),
        create_case("flags before extended types", None, NO_ACL, 7, -8),
    ];
    check_all(&mut world(false), &cases);
}

#[test]
fn delete_refuses_in_the_order_of_the_reference() {
    let delete = |row, path: Option<&str>, version, code| {
        case(row, OpCode::Delete, path_version(path.map(str::as_bytes), version), code)
    };
    let container = |row, path: Option<&str>, code| {
        let mut body = Vec::new();
        body.put_buffer(path.map(str::as_bytes));
        case(row, OpCode::DeleteContainer, body, code)
    };
    let cases = [
        delete("null path", None, 7, -5),
        delete("no slash", Some("noslash"), 7, -8),
        delete("the root", Some("/"), 7, -8),
        delete("a system node", Some("/zookeeper"), 7, -8),
        delete("parent", Some("/missing/x"), 7, -101),
        delete("permission before a missing node", Some("/sealed/nothing"), 7, -102),
        delete("permission before the version", Some("/sealed/kid"), 7, -102),
        delete("missing node before the version", Some("/p/nothing"), 7, -101),
        delete("version before children", Some("/p"), 7, -103),
        delete("children", Some("/p"), 0, -111),
        container("null path", None, -5),
        container("a system node", Some("/zookeeper"), -8),
        container("missing", Some("/p/nothing"), -101),
        container("children", Some("/p"), -111),
        container("ephemeral", Some("/p/eph"), -103),
    ];
    check_all(&mut world(true), &cases);
}

/// Usage is what is applied; the length that a setData replaces is the outstanding one (data-model 8.3).
#[test]
fn a_byte_quota_takes_the_difference_to_the_outstanding_data() {
    let mut world = world(false);
    assert_eq!(world.code(OpCode::SetData, &set_data(Some(b"/q"), b"x", -1)), 0);
    let set = |data: &'static [u8]| {
        MultiOp::SetData(SetDataRequest { path: Some(b"/q"), data: Some(data), version: -1 })
    };
    let data = |world: &World| {
        world.tree.view().lookup(b"/q").and_then(|node| node.data().map(<[u8]>::to_vec))
    };
    // One byte is used, of one. The second takes one more than the empty data that the first leaves; against the
    // applied data it would take none.
    world.ask(OpCode::Multi, &multi(&[set(b""), set(b"y")]));
    assert_eq!(data(&world).as_deref(), Some(&b"x"[..]));
    world.ask(OpCode::Multi, &multi(&[set(b"z"), set(b"")]));
    assert_eq!(data(&world).as_deref(), Some(&b""[..]));
}

#[test]
fn set_data_and_set_acl_refuse_in_the_order_of_the_reference() {
    let data = |row, path: Option<&str>, version, code| {
        let body = set_data(path.map(str::as_bytes), b"too much", version);
        case(row, OpCode::SetData, body, code)
    };
    let acl = |row, path: Option<&str>, list: &[u8], version, code| {
        case(row, OpCode::SetAcl, set_acl(path.map(str::as_bytes), list, version), code)
    };
    let cases = [
        data("null path", None, 7, -8),
        data("trailing slash", Some("/p/"), 7, -8),
        data("missing node", Some("/p/nothing"), 7, -101),
        data("permission before the version", Some("/sealed"), 7, -102),
        data("hard quota before the version", Some("/q"), 7, -125),
        data("version", Some("/p"), 7, -103),
        acl("null path before the ACL", None, NO_ACL, 7, -8),
        acl("path before the ACL", Some("/p/"), NO_ACL, 7, -8),
        acl("ACL before a missing node", Some("/p/nothing"), NO_ACL, 7, -114),
        acl("null id before a missing node", Some("/p/nothing"), &null_id_acl(), 7, -5),
        acl("missing node", Some("/p/nothing"), open(), 7, -101),
        acl("permission before the version", Some("/sealed"), open(), 7, -102),
        acl("aversion", Some("/p"), open(), 7, -103),
    ];
    check_all(&mut world(true), &cases);
}

#[test]
fn check_refuses_in_the_order_of_the_reference() {
    let mut world = world(true);
    for (path, code) in [("/p/", -8), ("/p/nothing", -101), ("/sealed", -102), ("/p", -103)] {
        let said = world.ask(OpCode::Multi, &multi(&[check_op(path, 7)]));
        assert_eq!(said.err, 0, "{path}");
        let mut entry = hex("ffffffff 00");
        entry.extend_from_slice(&i32::to_be_bytes(code));
        entry.extend_from_slice(&i32::to_be_bytes(code));
        assert!(said.body.starts_with(&entry), "{path}: {:02x?}", said.body);
    }
    let said = world.ask(OpCode::Multi, &multi(&[check_op("/p", 0)]));
    assert_eq!(said.body, hex("0000000d 00 00000000 ffffffff 01 ffffffff"));
}

#[test]
fn reconfig_is_refused_by_switch_and_by_a_standalone_server() {
    let mut body = Vec::new();
    for _ in 0..3 {
        body.put_buffer(None);
    }
    body.put_long(-1);
    let off = case("switched off", OpCode::Reconfig, body.clone(), -123);
    check_all(&mut world(true), &[off]);
    let mut world = World::with(PrepOptions { reconfig_enabled: true, ..options() });
    check_all(&mut world, &[case("standalone", OpCode::Reconfig, body, -6)]);
}

#[test]
fn a_body_that_is_none_takes_a_zxid_only_in_a_multi() {
    let mut world = world(true);
    let whole: [(OpCode, Vec<u8>); 7] = [
        (OpCode::Create, create("/x", b"", 0)),
        (OpCode::CreateTtl, create_raw(Some(b"/x"), b"", open(), 5, 1000)),
        (OpCode::Delete, delete("/x")),
        (OpCode::SetData, set_data(Some(b"/x"), b"d", -1)),
        (OpCode::SetAcl, set_acl(Some(b"/x"), open(), -1)),
        (OpCode::Multi, multi(&[create_op("/x", 0), check_op("/x", 0)])),
        (OpCode::Multi, multi(&[])),
    ];
    let mut undecodable = 0;
    for (op, body) in &whole {
        for cut in 0..body.len() {
            let last = world.prep.last_zxid();
            let outcome = world.prepare(A, op.code(), &body[..cut]);
            undecodable += 1;
            if *op == OpCode::Multi {
                assert_eq!(outcome, Outcome::Txn(last.next()), "{op:?} cut at {cut}");
                assert_eq!(world.apply().err, -5);
            } else {
                let refused = Outcome::Refused(crate::wire::ErrorCode::MarshallingError);
                assert_eq!(outcome, refused, "{op:?} cut at {cut}");
                assert_eq!(world.prep.last_zxid(), last);
            }
        }
    }
    assert_eq!(world.prep.undecodable(), undecodable);
}

#[test]
fn a_multi_with_a_null_acl_and_an_unknown_operation_take_no_zxid() {
    let mut world = World::new();
    let last = world.prep.last_zxid();
    let MultiOp::Create(mut request) = create_op("/x", 0) else { panic!("a create") };
    request.acl = None;
    let body = multi(&[MultiOp::Create(request)]);
    let marshalling = Outcome::Refused(crate::wire::ErrorCode::MarshallingError);
    assert_eq!(world.prepare(A, OpCode::Multi.code(), &body), marshalling);
    let unimplemented = Outcome::Refused(crate::wire::ErrorCode::Unimplemented);
    assert_eq!(world.prepare(A, 777, b""), unimplemented);
    assert_eq!(world.prep.last_zxid(), last);
    // A null path is found later: the request as a whole is an error transaction.
    let null_path = MultiOp::Delete(PathVersionRequest { path: None, version: -1 });
    let said = world.ask(OpCode::Multi, &multi(&[create_op("/x", 0), null_path]));
    assert_eq!((said.err, said.body.len()), (-5, 0));
    assert_eq!(said.zxid, last.next());
    assert!(!world.exists("/x"));
}

#[test]
fn versions_count_up_and_wrap() {
    let mut world = World::new();
    world.node("/v");
    for version in 0..3 {
        // A pending change counts already.
        world.submit(A, OpCode::SetData, &set_data(Some(b"/v"), b"", version));
        let acl = OPEN_ACL_UNSAFE.as_bytes();
        world.submit(A, OpCode::SetAcl, &set_acl(Some(b"/v"), acl, version));
    }
    world.submit(A, OpCode::SetData, &set_data(Some(b"/v"), b"", 2));
    let codes: Vec<i32> = world.apply_all().iter().map(|said| said.err).collect();
    assert_eq!(codes, [0, 0, 0, 0, 0, 0, -103]);
    assert_eq!(super::super::prep::next_version(i32::MAX, i32::MAX), Ok(i32::MIN));
    assert_eq!(super::super::prep::next_version(-2, -2), Ok(-1));
    assert_eq!(super::super::prep::next_version(-1, -1), Ok(0));
}
