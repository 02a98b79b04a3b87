//! Snapshots of a tree that changes meanwhile.

use super::*;
use std::sync::atomic::{AtomicBool, Ordering};

fn decode(mut bytes: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while !bytes.is_empty() {
        let mut r = Reader::new(bytes);
        let path = r.ustring().unwrap().unwrap().to_vec();
        let data = r.buffer().unwrap().map(Into::into);
        let acl = r.long().unwrap();
        records.push((path, data, acl, StatPersisted::decode(&mut r).unwrap()));
        bytes = r.rest();
    }
    records
}

fn acls_of(walk: &SnapshotWalk) -> AclMap {
    walk.acls().map(|(id, list)| (id, list.as_bytes().to_vec())).collect()
}

pub(super) fn walk_all(writer: &TreeWriter) -> (AclMap, Vec<Record>, Zxid) {
    let mut walk = writer.begin_snapshot();
    let mut out = Vec::new();
    while walk.next_chunk(10, &mut out) {}
    (acls_of(&walk), decode(&out), walk.zxid())
}

#[test]
fn a_quiet_tree_comes_back_as_it_was() {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    let mut workload = Workload::new(1);
    let rounds = if cfg!(miri) { 100 } else { 3000 };
    for zxid in 1..rounds {
        let op = workload.next(&writer);
        apply_published(&mut writer, &op, zxid).unwrap();
    }
    let (acls, records, zxid) = walk_all(&writer);
    assert_eq!(records[0].0, b"");
    assert_eq!(zxid, Zxid(rounds - 1));
    let copy = load(&acls, &records, zxid);
    assert_eq!(dump(&copy), dump(&writer));
    assert_eq!(copy.digest(), writer.digest());
    assert_eq!(writer.begin_snapshot().end_state(), (zxid, writer.digest()));
}

/// The rules of the format: parents first, no path twice, nothing newer than the walk, no id out of
/// the map.
fn check_records(records: &[Record], acls: &[(i64, Vec<u8>)], zxid: Zxid) {
    let mut seen = std::collections::BTreeSet::new();
    for (path, _, acl, stat) in records {
        assert!(path.is_empty() || seen.contains(path::parent(path).unwrap()), "{path:?}");
        assert!(seen.insert(path.clone()), "{path:?} twice");
        assert!(stat.czxid <= zxid.0);
        assert!(*acl == OPEN_ACL_ID || acls.iter().any(|(id, _)| id == acl));
    }
}

#[test]
fn a_walk_among_writes_and_replay_give_the_exact_tree() {
    let (seeds, rounds) = if cfg!(miri) { (1, 100) } else { (60, 700) };
    for seed in 100..100 + seeds {
        let mut writer = TreeWriter::new(OwnerOptions::default());
        let mut workload = Workload::new(seed);
        let mut zxid = 0;
        for _ in 0..rounds {
            zxid += 1;
            let op = workload.next(&writer);
            apply_published(&mut writer, &op, zxid).unwrap();
        }
        let mut walk = writer.begin_snapshot();
        assert_eq!(walk.zxid(), Zxid(zxid));
        let (mut out, mut log) = (Vec::new(), Vec::new());
        loop {
            let more = walk.next_chunk(1 + workload.below(4), &mut out);
            for _ in 0..workload.below(8) {
                zxid += 1;
                let op = workload.next(&writer);
                apply_published(&mut writer, &op, zxid).unwrap();
                log.push((zxid, op));
            }
            if !more {
                break;
            }
        }
        let (acls, records) = (acls_of(&walk), decode(&out));
        check_records(&records, &acls, walk.zxid());
        let mut copy = load(&acls, &records, walk.zxid());
        for (zxid, op) in &log {
            let _ = apply_published(&mut copy, op, *zxid);
        }
        assert_eq!(dump(&copy), dump(&writer), "seed {seed}");
        assert_eq!(copy.digest(), writer.digest(), "seed {seed}");
    }
}

#[test]
fn a_walk_on_another_thread_and_replay_give_the_exact_tree() {
    let (before, after) = if cfg!(miri) { (60, 30) } else { (20_000, 20_000) };
    let mut writer = TreeWriter::new(OwnerOptions::default());
    let mut workload = Workload::new(5);
    for zxid in 1..=before {
        let op = workload.next(&writer);
        apply_published(&mut writer, &op, zxid).unwrap();
    }
    let mut walk = writer.begin_snapshot();
    let done = AtomicBool::new(false);
    let mut log = Vec::new();
    let (walk, out) = std::thread::scope(|scope| {
        let done = &done;
        let side = scope.spawn(move || {
            let mut out = Vec::new();
            while walk.next_chunk(16, &mut out) {}
            done.store(true, Ordering::Release);
            (walk, out)
        });
        for zxid in before + 1..=before + after {
            let op = workload.next(&writer);
            apply_published(&mut writer, &op, zxid).unwrap();
            log.push((zxid, op));
            if done.load(Ordering::Acquire) {
                break;
            }
        }
        side.join().unwrap()
    });
    assert!(!log.is_empty());
    let (acls, records) = (acls_of(&walk), decode(&out));
    check_records(&records, &acls, walk.zxid());
    let mut copy = load(&acls, &records, walk.zxid());
    for (zxid, op) in &log {
        let _ = apply_published(&mut copy, op, *zxid);
    }
    assert_eq!(dump(&copy), dump(&writer));
    assert_eq!(copy.digest(), writer.digest());
    assert_eq!(walk.end_state(), (Zxid(log.last().unwrap().0), writer.digest()));
}
