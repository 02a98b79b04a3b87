//! What each transaction does, and the digests Apache ZooKeeper recorded for a run of them.

use super::*;
use crate::base::SessionId;

#[test]
fn a_fresh_database() {
    let writer = TreeWriter::new(OwnerOptions::default());
    assert_eq!(writer.digest(), digest::EMPTY_TREE_DIGEST);
    let view = writer.view();
    assert_eq!(view.node_count(), 4);
    let rows: [(&[u8], i32, i32, i32, i32); 5] = [
        (b"", -1, 0, 31, 1),
        (b"/", -1, 0, 31, 1),
        (b"/zookeeper", -2, 0, 31, 2),
        (b"/zookeeper/quota", 0, 0, 31, 0),
        (b"/zookeeper/config", 0, -1, 1, 0),
    ];
    for (path, cversion, aversion, perms, num_children) in rows {
        let node = view.lookup(path).unwrap();
        let stat = node.stat();
        assert_eq!((stat.cversion, stat.aversion), (cversion, aversion), "{path:?}");
        assert_eq!((stat.num_children, stat.data_length), (num_children, 0), "{path:?}");
        assert_eq!((stat.czxid, stat.mtime, stat.version), (0, 0, 0), "{path:?}");
        assert_eq!(node.data(), Some(&b""[..]), "{path:?}");
        assert_eq!(node.acl().unwrap().world_perms(), perms, "{path:?}");
    }
    assert_eq!(view.lookup(b"/zookeeper/quota").unwrap().acl().unwrap().id(), OPEN_ACL_ID);
    assert_eq!(view.lookup(b"/zookeeper/config").unwrap().acl().unwrap().id(), 1);
}

#[test]
fn odd_paths_are_not_found() {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    create(&mut writer, "/a", b"", 0, 1);
    create(&mut writer, "/a/b", b"", 0, 2);
    for odd in ["a", "a/b", "/a/", "//a", "/a//b", "/b", "/a/b/", "//"] {
        assert!(writer.view().lookup(odd.as_bytes()).is_none(), "{odd}");
    }
    writer.begin();
    for (path, error) in [
        ("/", ErrorCode::NodeExists),
        ("", ErrorCode::NodeExists),
        ("x", ErrorCode::BadArguments),
        ("/a/", ErrorCode::BadArguments),
        ("/x/y", ErrorCode::NoNode),
    ] {
        let new = Create {
            path: path.as_bytes(),
            data: None,
            acl: OPEN_ACL_UNSAFE,
            owner: 0,
            zxid: Zxid(3),
            time: 0,
            parent_cversion: -1,
        };
        assert_eq!(writer.create(&new), Err(error), "{path}");
    }
    assert_eq!(writer.delete(b"/", Zxid(3)), Err(ErrorCode::BadArguments));
    assert_eq!(writer.delete(b"a", Zxid(3)), Err(ErrorCode::NoNode));
    writer.publish(Zxid(3));
}

/// zxid, time after the base, operation, digest: the log of a 3.9.5 server.
fn recorded() -> Vec<(i64, i64, Vec<Op>, u64)> {
    let create = |path: &str, data: Option<&str>, owner, cversion| Op::Create {
        path: path.into(),
        data: data.map(Into::into),
        acl: 0,
        owner,
        cversion,
    };
    let set = |path: &str, data: &str, version| Op::SetData {
        path: path.into(),
        data: Some(data.into()),
        version,
    };
    let (first, third) = (0x100_000f_878d_0000, 0x100_000f_878d_0002);
    let ttl = owner::ttl_owner(60_000).unwrap();
    let delete = |path: &str| Op::Delete { path: path.into() };
    let set_acl = Op::SetAcl { path: b"/a".into(), acl: 5, version: 1 };
    vec![
        (0x1, 823, vec![], 0x51c6_d660),
        (0x2, 853, vec![create("/a", Some("hello"), 0, 1)], 0xc8b3_8a5a),
        (0x3, 933, vec![create("/n", None, 0, 2)], 0x1_ac96_54b6),
        (0x4, 951, vec![create("/c2", Some("two"), 0, 3)], 0x2_e1bb_e85e),
        (0x5, 953, vec![create("/e", Some("x"), first, 4)], 0x2_4abd_ef28),
        (0x6, 956, vec![create("/s-0000000004", Some(""), 0, 5)], 0x3_aa37_212a),
        (0x7, 958, vec![set("/a", "world!", 1)], 0x3_f960_e9d0),
        (0x9, 961, vec![create("/a/k", Some("v"), 0, 1)], 0x4_caeb_c226),
        (0xa, 962, vec![set_acl], 0x4_b9e2_ce67),
        (0xb, 964, vec![create("/cont", Some(""), owner::CONTAINER_OWNER, 6)], 0x4_ebcb_bce2),
        (0xc, 969, vec![create("/ttl", Some(""), ttl, 7)], 0x5_c802_4464),
        (
            0xd,
            974,
            vec![create("/m", Some("1"), 0, 8), set("/m", "2", 1), delete("/s-0000000004")],
            0x4_f812_ceed,
        ),
        (0xf, 980, vec![delete("/c2")], 0x4_a6ba_d3a4),
        (0x13, 985, vec![delete("/e")], 0x4_3ffc_5693),
        (0x16, 65_700, vec![create("/live", Some("L"), third, 9)], 0x4_9c52_3113),
    ]
}

#[test]
fn digests_as_apache_zookeeper_recorded_them() {
    let options = OwnerOptions { extended_types: true, emulate_353_ttl: false };
    let mut writer = TreeWriter::new(options);
    for (zxid, offset, ops, digest) in recorded() {
        let time = 1_795_219_847_000 + offset;
        writer.begin();
        for op in ops {
            apply_at(&mut writer, &op, zxid, time);
        }
        writer.publish(Zxid(zxid));
        assert_eq!(writer.digest(), digest, "zxid 0x{zxid:x}");
        let read = writer.tree().read(|view| view.digest());
        assert_eq!(read, (Zxid(zxid), digest));
    }
    let view = writer.view();
    assert_eq!(view.lookup(b"/ttl").unwrap().stat().ephemeral_owner, 0);
    assert_eq!(view.lookup(b"/cont").unwrap().stat().ephemeral_owner, 0);
    assert_eq!(view.lookup(b"/cont").unwrap().persisted().ephemeral_owner, i64::MIN);
    assert_eq!(view.lookup(b"/live").unwrap().stat().ephemeral_owner, 0x100_000f_878d_0002);
    let root = view.lookup(b"/").unwrap();
    assert_eq!(root.persisted().cversion, 9);
    assert_eq!(root.persisted().pzxid, 0x16);
}

fn apply_at(writer: &mut TreeWriter, op: &Op, zxid: i64, time: i64) {
    match op {
        Op::Create { path, data, acl, owner, cversion } => {
            let acl = acl_bytes(*acl);
            let new = Create {
                path,
                data: data.as_deref(),
                acl: acl_list(&acl),
                owner: *owner,
                zxid: Zxid(zxid),
                time,
                parent_cversion: *cversion,
            };
            writer.create(&new).unwrap();
        }
        Op::SetData { path, data, version } => {
            writer.set_data(path, data.as_deref(), *version, Zxid(zxid), time).unwrap();
        }
        op => apply(writer, op, zxid).unwrap(),
    }
}

#[test]
fn status_of_node_and_parent() {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    create(&mut writer, "/p", b"12345", 0, 1);
    create(&mut writer, "/p/c", b"", 0x55, 2);
    let view = writer.view();
    let p = view.lookup(b"/p").unwrap().stat();
    assert_eq!((p.czxid, p.mzxid, p.pzxid, p.cversion), (1, 1, 2, 1));
    assert_eq!((p.num_children, p.data_length, p.version), (1, 5, 0));
    let c = view.lookup(b"/p/c").unwrap();
    assert_eq!((c.stat().ephemeral_owner, c.node_type()), (0x55, NodeType::Ephemeral));

    apply_published(&mut writer, &Op::Delete { path: b"/p/c".into() }, 3).unwrap();
    let p = writer.view().lookup(b"/p").unwrap().stat();
    assert_eq!((p.pzxid, p.cversion, p.num_children, p.mzxid), (3, 2, 0, 1));

    let set = Op::SetData { path: b"/p".into(), data: None, version: 1 };
    apply_published(&mut writer, &set, 4).unwrap();
    let p = writer.view().lookup(b"/p").unwrap();
    assert_eq!(p.data(), None);
    let stat = p.stat();
    assert_eq!((stat.mzxid, stat.mtime, stat.version), (4, time_of(4), 1));
    assert_eq!((stat.pzxid, stat.ctime, stat.data_length), (3, time_of(1), 0));

    let set = Op::SetAcl { path: b"/p".into(), acl: 3, version: 1 };
    apply_published(&mut writer, &set, 5).unwrap();
    let stat = writer.view().lookup(b"/p").unwrap().stat();
    assert_eq!((stat.aversion, stat.mzxid, stat.version), (1, 4, 1));
    assert_eq!(writer.view().applied(), Zxid(5));
}

#[test]
fn who_may_hear_of_a_delete() {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    create(&mut writer, "/p", b"", 0, 1);
    let secret = Op::Create { path: b"/p/c".into(), data: None, acl: 4, owner: 0, cversion: -1 };
    apply_published(&mut writer, &secret, 2).unwrap();
    assert_eq!(writer.event_acl(b"/p"), Some(EventAcl::WorldReadable));
    let handle = writer.acl_of(b"/p/c").unwrap();
    writer.begin();
    let deleted = writer.delete(b"/p/c", Zxid(3)).unwrap();
    writer.publish(Zxid(3));
    assert_eq!(deleted.parent, EventAcl::WorldReadable);
    assert_eq!(deleted.node, EventAcl::Restricted(handle.clone()));
    assert_eq!(handle.list().unwrap().as_bytes(), acl_bytes(4), "outlives its last node");
    assert_eq!(writer.event_acl(b"/p/c"), None);
}

#[test]
fn acl_ids_count_up_and_are_never_used_again() {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    let id_of_new = |writer: &mut TreeWriter, acl, zxid| {
        let path = b"/x".to_vec();
        let new = Op::Create { path, data: None, acl, owner: 0, cversion: -1 };
        apply_published(writer, &new, zxid).unwrap();
        let id = writer.acl_of(b"/x").unwrap().id();
        apply_published(writer, &Op::Delete { path: b"/x".into() }, zxid + 1).unwrap();
        id
    };
    assert_eq!(id_of_new(&mut writer, 0, 1), 2, "open, but not the built-in list");
    assert_eq!(id_of_new(&mut writer, 4, 3), 3);
    assert_eq!(id_of_new(&mut writer, 4, 5), 4, "forgotten with its last node");
    assert_eq!(id_of_new(&mut writer, 1, 7), 1, "still used by /zookeeper/config");
    let ids: Vec<_> = writer.begin_snapshot().acls().map(|(id, _)| id).collect();
    assert_eq!(ids, [1]);
}

#[test]
fn ephemerals_by_session() {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    create(&mut writer, "/p", b"", 0, 1);
    for nth in 0..5 {
        create(&mut writer, &format!("/p/e{nth}"), b"", 0x10 + nth % 2, 2 + nth);
    }
    let view = writer.view();
    assert_eq!(view.ephemerals_count(), 5);
    assert_eq!(view.ephemeral_sessions(), [SessionId(0x10), SessionId(0x11)]);
    let mut paths = writer.ephemerals_of(SessionId(0x10));
    paths.sort();
    assert_eq!(paths, [&b"/p/e0"[..], b"/p/e2", b"/p/e4"].map(Box::from));
    for path in paths {
        apply_published(&mut writer, &Op::Delete { path: path.into() }, 20).unwrap();
    }
    let read = writer.tree().read(|view| {
        let mut found = Vec::new();
        view.ephemerals_of(SessionId(0x11), |path| found.push(path.to_vec()));
        (found.len(), view.ephemeral_sessions())
    });
    assert_eq!(read.1, (2, vec![SessionId(0x11)]));
    assert_eq!(writer.ephemerals_of(SessionId(9)), []);
}

#[test]
fn what_the_reaper_may_take() {
    let options = OwnerOptions { extended_types: true, emulate_353_ttl: false };
    let mut writer = TreeWriter::new(options);
    let ttl = owner::ttl_owner(1000).unwrap();
    create(&mut writer, "/unused", b"", owner::CONTAINER_OWNER, 1);
    create(&mut writer, "/used", b"", owner::CONTAINER_OWNER, 2);
    create(&mut writer, "/used/c", b"", 0, 3);
    create(&mut writer, "/ttl", b"", ttl, 4);
    create(&mut writer, "/busy", b"", ttl, 5);
    create(&mut writer, "/busy/c", b"", 0, 6);
    let names = |writer: &TreeWriter, now, never_used| {
        let mut paths = writer.reap_candidates(now, never_used);
        paths.sort();
        paths.into_iter().map(|path| String::from_utf8(path.into()).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(names(&writer, time_of(4) + 1000, 0), [""; 0]);
    assert_eq!(names(&writer, time_of(4) + 1001, 0), ["/ttl"]);
    apply_published(&mut writer, &Op::Delete { path: b"/used/c".into() }, 7).unwrap();
    assert_eq!(names(&writer, time_of(4), 0), ["/used"]);
    assert_eq!(names(&writer, time_of(1) + 501, 500), ["/unused", "/used"]);
    assert_eq!((writer.containers_count(), writer.ttls_count()), (2, 2));
}

#[test]
fn sizes() {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    let before = writer.view().approximate_data_size();
    create(&mut writer, "/abc", b"12345", 0, 1);
    assert_eq!(writer.view().approximate_data_size() - before, 9);
    let set = Op::SetData { path: b"/abc".into(), data: Some(b"1".into()), version: 1 };
    apply_published(&mut writer, &set, 2).unwrap();
    assert_eq!(writer.view().approximate_data_size() - before, 5);
    apply_published(&mut writer, &Op::Delete { path: b"/abc".into() }, 3).unwrap();
    assert_eq!(writer.view().approximate_data_size(), before);
    let usage = writer.view().lookup(b"/").unwrap().usage();
    assert_eq!(usage, Usage { nodes: 4, bytes: 0 });
}
