//! Readers among writes: no torn state may be told as an answer.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const CHILDREN: i64 = if cfg!(miri) { 4 } else { 40 };
const READS_MIN: u64 = if cfg!(miri) { 2 } else { 20 };
const BATCHES: i64 = if cfg!(miri) { 5 } else { 20_000 };

fn number(data: Option<&[u8]>) -> i64 {
    i64::from_be_bytes(data.unwrap_or_default().try_into().unwrap_or([0xff; 8]))
}

/// What every published state satisfies: /a, /b and the zxid are one number, and the children are
/// in /p or /q.
fn check(view: View<'_>) -> (i64, i64, i64, i64, bool) {
    let value = |path: &[u8]| view.lookup(path).map_or(-2, |node| number(node.data()));
    let mut names = Vec::new();
    let mut listed_is_found = true;
    for parent in [&b"/p"[..], b"/q"] {
        let Some(node) = view.lookup(parent) else { continue };
        node.for_each_child(|name| {
            let path = [parent, b"/", name].concat();
            listed_is_found &= view.lookup(&path).is_some();
            names.push(name.to_vec());
        });
    }
    names.sort();
    names.dedup();
    let below = view.lookup(b"/").map_or(0, |root| root.descendants());
    (value(b"/a"), value(b"/b"), names.len() as i64, below as i64, listed_is_found)
}

fn one_batch(writer: &mut TreeWriter, zxid: i64) {
    let data = Some(zxid.to_be_bytes().to_vec());
    let (child, round) = ((zxid - 1) % CHILDREN, (zxid - 1) / CHILDREN);
    let (from, to) = if round % 2 == 0 { ("/p", "/q") } else { ("/q", "/p") };
    writer.begin();
    let set =
        |path: &str| Op::SetData { path: path.into(), data: data.clone(), version: zxid as i32 };
    apply(writer, &set("/a"), zxid).unwrap();
    apply(writer, &Op::Delete { path: format!("{from}/c{child}").into() }, zxid).unwrap();
    let create = Op::Create {
        path: format!("{to}/c{child}").into(),
        data: data.clone(),
        acl: (zxid % 6) as usize,
        owner: zxid % 3,
        cversion: -1,
    };
    apply(writer, &create, zxid).unwrap();
    apply(writer, &set("/b"), zxid).unwrap();
    writer.publish(Zxid(zxid));
}

fn set_up() -> TreeWriter {
    let mut writer = TreeWriter::new(OwnerOptions::default());
    for path in ["/a", "/b"] {
        create(&mut writer, path, &0i64.to_be_bytes(), 0, 0);
    }
    for path in ["/p", "/q"] {
        create(&mut writer, path, b"", 0, 0);
    }
    for child in 0..CHILDREN {
        create(&mut writer, &format!("/p/c{child}"), b"", 0, 0);
    }
    writer
}

/// Stops the other side when a thread ends, also by a failed assertion: a red test must not hang.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Reads until told to stop and counts the reads.
fn reader(tree: &Tree, stop: &AtomicBool, waits: bool, reads: &AtomicU64) {
    let _stop = StopOnDrop(stop);
    let mut last = Zxid(0);
    while !stop.load(Ordering::Relaxed) {
        let answer = if waits { Some(tree.read(check)) } else { tree.try_read(check) };
        let Some((zxid, (a, b, names, below, found))) = answer else { continue };
        assert!(zxid >= last, "time went back");
        last = zxid;
        assert_eq!((a, b), (zxid.0, zxid.0));
        assert_eq!((names, below), (CHILDREN, CHILDREN + 7));
        assert!(found);
        reads.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn readers_see_whole_batches_only() {
    let mut writer = set_up();
    let (stop, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for waits in [true, true, false] {
            let tree = Arc::clone(writer.tree());
            let (stop, reads) = (&stop, &reads);
            scope.spawn(move || reader(&tree, stop, waits, reads));
        }
        let _stop = StopOnDrop(&stop);
        for zxid in 1..=BATCHES {
            one_batch(&mut writer, zxid);
            if cfg!(miri) {
                std::thread::yield_now();
            }
        }
        // At least some reads, however the threads were scheduled.
        while reads.load(Ordering::Relaxed) < READS_MIN && !stop.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
    });
    assert_eq!(digest_of(&dump(&writer)), writer.digest());
}

#[test]
fn a_long_read_ends_although_the_writer_never_rests() {
    let mut writer = set_up();
    let stop = AtomicBool::new(false);
    let tree = Arc::clone(writer.tree());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let _stop = StopOnDrop(&stop);
            // Each run of the closure outlasts many batches, so only the lock lets it succeed.
            for _ in 0..3 {
                let pause = std::time::Duration::from_millis(5);
                let (zxid, (before, after)) = tree.read(|view| {
                    let before = view.lookup(b"/a").map(|node| number(node.data()));
                    std::thread::sleep(pause);
                    (before, view.lookup(b"/b").map(|node| number(node.data())))
                });
                assert_eq!((before, after), (Some(zxid.0), Some(zxid.0)));
            }
        });
        let mut zxid = 0;
        while !stop.load(Ordering::Relaxed) {
            zxid += 1;
            one_batch(&mut writer, zxid);
        }
    });
}

#[test]
fn a_busy_tree_says_so() {
    let mut writer = set_up();
    let tree = Arc::clone(writer.tree());
    writer.begin();
    assert!(tree.try_read(|view| view.node_count()).is_none());
    writer.publish(Zxid(1));
    assert_eq!(tree.try_read(|view| view.node_count()), Some((Zxid(1), CHILDREN as u64 + 8)));
}
