//! Loading, and replay over snapshots that show some of the future (reference: disk-format 8).

use super::*;

#[test]
fn a_second_create_repairs_what_it_finds() {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    create(&mut writer, "/p", b"old", 0, 5);
    let again =
        Op::Create { path: b"/p".into(), data: Some(b"new".into()), acl: 4, owner: 0, cversion: 7 };
    assert_eq!(apply_published(&mut writer, &again, 6), Err(ErrorCode::NodeExists));
    let view = writer.view();
    let p = view.lookup(b"/p").unwrap();
    assert_eq!(p.data(), Some(&b"old"[..]));
    assert_eq!(p.persisted().czxid, 5);
    assert_eq!(p.acl().unwrap().list().unwrap().as_bytes(), acl_bytes(4));
    let root = view.lookup(b"/").unwrap().persisted();
    assert_eq!((root.cversion, root.pzxid), (7, 6));
    // Never backwards.
    assert_eq!(apply_published(&mut writer, &again, 4), Err(ErrorCode::NodeExists));
    assert_eq!(writer.view().lookup(b"/").unwrap().persisted().pzxid, 6);
    assert_eq!(digest_of(&dump(&writer)), writer.digest());
}

#[test]
fn a_delete_of_nothing_still_raises_pzxid() {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    create(&mut writer, "/p", b"", 0, 1);
    let delete = Op::Delete { path: b"/p/gone".into() };
    assert_eq!(apply_published(&mut writer, &delete, 9), Err(ErrorCode::NoNode));
    assert_eq!(writer.view().lookup(b"/p").unwrap().persisted().pzxid, 9);
    assert_eq!(apply_published(&mut writer, &delete, 3), Err(ErrorCode::NoNode));
    assert_eq!(writer.view().lookup(b"/p").unwrap().persisted().pzxid, 9);
    let delete = Op::Delete { path: b"/x/gone".into() };
    assert_eq!(apply_published(&mut writer, &delete, 10), Err(ErrorCode::NoNode));
    for op in [
        Op::SetData { path: b"/x".into(), data: None, version: 1 },
        Op::SetAcl { path: b"/x".into(), acl: 0, version: 1 },
    ] {
        assert_eq!(apply_published(&mut writer, &op, 11), Err(ErrorCode::NoNode));
    }
}

#[test]
fn bad_snapshots_are_refused() {
    let stat = StatPersisted::default();
    let options = OwnerOptions { extended_types: true, emulate_353_ttl: false };
    let mut loader = TreeLoader::new(options);
    assert_eq!(loader.load_node(b"/a", None, -1, &stat), Err(LoadError::ParentMissing));
    assert_eq!(loader.load_node(b"", None, -1, &stat), Ok(()));
    assert_eq!(loader.load_node(b"", None, -1, &stat), Err(LoadError::Duplicate));
    assert_eq!(loader.load_node(b"/a/b", None, -1, &stat), Err(LoadError::ParentMissing));
    assert_eq!(loader.load_node(b"/a", None, -1, &stat), Ok(()));
    assert_eq!(loader.load_node(b"/a", None, -1, &stat), Err(LoadError::Duplicate));
    assert_eq!(loader.load_node(b"/a/", None, -1, &stat), Err(LoadError::BadPath));
    assert_eq!(loader.load_node(b"a", None, -1, &stat), Err(LoadError::BadPath));
    let raw = 0xff00_0100_0000_0000_u64 as i64;
    let odd = StatPersisted { ephemeral_owner: raw, ..stat };
    assert_eq!(loader.load_node(b"/o", None, -1, &odd), Err(LoadError::BadOwner(raw)));
    let writer = loader.finish(Zxid(3));
    assert_eq!(writer.view().node_count(), 5, "the fixed nodes are added");
    assert_eq!(writer.view().lookup(b"/zookeeper/config").unwrap().persisted().aversion, -1);
    assert_eq!(writer.tree().applied(), Zxid(3));
}

#[test]
fn an_acl_id_without_a_list_waits_for_repair() {
    let stat = StatPersisted::default();
    let records = [
        (b"".to_vec(), None, -1, stat),
        (b"/a".to_vec(), None, 40, stat),
        (b"/b".to_vec(), None, 7, stat),
    ];
    let acls = [(7, acl_bytes(3)), (8, acl_bytes(4))];
    let mut writer = load(&acls, &records, Zxid(1));
    let acl = writer.acl_of(b"/a").unwrap();
    assert_eq!((acl.id(), acl.list(), acl.world_perms()), (40, None, 0));
    assert!(matches!(writer.event_acl(b"/a"), Some(EventAcl::Restricted(_))));
    let ids: Vec<_> = writer.begin_snapshot().acls().map(|(id, _)| id).collect();
    assert_eq!(ids, [7, 41], "8 is unused, 41 the new config node's, 40 unexplained");
    let repair = Op::SetAcl { path: b"/a".into(), acl: 5, version: 1 };
    apply_published(&mut writer, &repair, 2).unwrap();
    let acl = writer.acl_of(b"/a").unwrap();
    assert_eq!((acl.id(), acl.list().unwrap().as_bytes()), (42, &acl_bytes(5)[..]));
}

/// Walks as Apache ZooKeeper does: by path, each node as it is when the walk gets there, with all
/// that is newer.
fn java_walk(
    writer: &mut TreeWriter,
    mut between: impl FnMut(&mut TreeWriter),
) -> (AclMap, Vec<Record>) {
    let snapshot = writer.begin_snapshot();
    let acls = snapshot.acls().map(|(id, list)| (id, list.as_bytes().to_vec())).collect();
    let mut records = Vec::new();
    let mut waiting = vec![Vec::new()];
    while let Some(path) = waiting.pop() {
        if let Some(node) = writer.view().lookup(&path) {
            let id = node.acl().unwrap().id();
            let mut names = Vec::new();
            node.for_each_child(|name| names.push([&path[..], b"/", name].concat()));
            records.push((path, node.data().map(Into::into), id, node.persisted()));
            waiting.extend(names);
        }
        between(writer);
    }
    (acls, records)
}

#[test]
fn replay_over_a_foreign_fuzzy_snapshot_converges() {
    let (seeds, rounds) = if cfg!(miri) { (1, 100) } else { (60, 700) };
    for seed in 0..seeds {
        let mut writer = TreeWriter::new(OwnerOptions::default());
        let mut workload = Workload::new(seed);
        let mut zxid = 0;
        for _ in 0..rounds {
            zxid += 1;
            let op = workload.next(&writer);
            apply_published(&mut writer, &op, zxid).unwrap();
        }
        let start = zxid;
        let mut log = Vec::new();
        let (acls, records) = java_walk(&mut writer, |writer| {
            for _ in 0..1 + workload.below(4) {
                zxid += 1;
                let op = workload.next(writer);
                apply_published(writer, &op, zxid).unwrap();
                log.push((zxid, op));
            }
        });
        let mut copy = load(&acls, &records, Zxid(start));
        for (zxid, op) in &log {
            let _ = apply_published(&mut copy, op, *zxid);
        }
        assert_eq!(dump(&copy), dump(&writer), "seed {seed}");
        assert_eq!(copy.digest(), writer.digest(), "seed {seed}");
    }
}
