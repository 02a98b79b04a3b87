//! The models: one writer and one reader or two, as few steps as show what they are about.

use std::sync::Arc;

use loom::cell::UnsafeCell;
use loom::thread;
use ringkeeper::base::Zxid;
use ringkeeper::wire::acl::{OPEN_ACL_UNSAFE, encode_acl_list};
use ringkeeper::wire::{AclEntry, AclList, Reader};

use crate::lock::FairLock;
use crate::sync::{epoch, memory};
use crate::tree::{Create, OwnerOptions, Tree, TreeWriter, View};

/// Name and model, the quick ones first.
pub const ALL: &[(&str, fn())] = &[
    ("the_lock_lets_one_in_at_a_time", the_lock_lets_one_in_at_a_time),
    ("a_status_is_seen_whole_or_not_at_all", a_status_is_seen_whole_or_not_at_all),
    ("data_is_replaced_and_its_memory_used_again", data_is_replaced_and_its_memory_used_again),
    ("a_parents_data_is_replaced", a_parents_data_is_replaced),
    ("a_chunk_is_added_under_a_look_up", a_chunk_is_added_under_a_look_up),
    ("a_list_of_children_grows_and_shrinks", a_list_of_children_grows_and_shrinks),
    ("an_acl_is_replaced_under_a_read", an_acl_is_replaced_under_a_read),
    ("tables_grow_under_a_look_up", tables_grow_under_a_look_up),
    ("a_reader_that_is_disturbed_takes_the_lock", a_reader_that_is_disturbed_takes_the_lock),
    ("a_node_is_deleted_under_a_read", a_node_is_deleted_under_a_read),
];

/// All interleavings with so many preemptions at most.
fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    builder.check(move || {
        memory::begin();
        epoch::begin();
        model();
        epoch::end();
    });
}

fn the_lock_lets_one_in_at_a_time() {
    struct Shared {
        lock: FairLock,
        inside: UnsafeCell<u32>,
    }
    // SAFETY: the cell is what the model is about: loom reports two at once.
    unsafe impl Sync for Shared {}
    // SAFETY: as above.
    unsafe impl Send for Shared {}
    fn enter(shared: &Shared) {
        shared.lock.lock();
        // SAFETY: under the lock.
        shared.inside.with_mut(|inside| unsafe { *inside += 1 });
        shared.lock.unlock();
    }
    explore(3, || {
        let shared = Arc::new(Shared { lock: FairLock::default(), inside: UnsafeCell::new(0) });
        let others = [0, 1].map(|_| {
            let shared = Arc::clone(&shared);
            thread::spawn(move || enter(&shared))
        });
        enter(&shared);
        for other in others {
            other.join().expect("no panic");
        }
        // SAFETY: all others have ended.
        assert_eq!(shared.inside.with(|inside| unsafe { *inside }), 3);
    });
}

/// A writer whose next transaction is `zxid`.
struct Writing {
    writer: TreeWriter,
    zxid: i64,
}

impl Writing {
    fn new(paths: &[&str]) -> Writing {
        let mut writing = Writing { writer: TreeWriter::new(OwnerOptions::default()), zxid: 1 };
        for path in paths {
            writing.batch(|writing| writing.create(path));
        }
        writing
    }

    fn tree(&self) -> Arc<Tree> {
        Arc::clone(self.writer.tree())
    }

    fn batch(&mut self, change: impl FnOnce(&mut Writing)) {
        self.writer.begin();
        change(self);
        self.writer.publish(Zxid(self.zxid));
        self.zxid += 1;
    }

    /// Eight bytes that say which transaction it was.
    fn data(&self) -> [u8; 8] {
        self.zxid.to_be_bytes()
    }

    fn create(&mut self, path: &str) {
        let data = self.data();
        let new = Create {
            path: path.as_bytes(),
            data: Some(&data),
            acl: OPEN_ACL_UNSAFE,
            owner: 0,
            zxid: Zxid(self.zxid),
            time: self.zxid,
            parent_cversion: -1,
        };
        self.writer.create(&new).expect("a new node");
    }

    fn set(&mut self, path: &str) {
        let (data, zxid) = (self.data(), self.zxid);
        let set = self.writer.set_data(path.as_bytes(), Some(&data), zxid as i32, Zxid(zxid), zxid);
        set.expect("the node is there");
    }

    fn delete(&mut self, path: &str) {
        self.writer.delete(path.as_bytes(), Zxid(self.zxid)).expect("the node is there");
    }
}

/// What a node's data says; -1 for another node's, which a mixed state may show.
fn number(view: View<'_>, path: &str) -> Option<i64> {
    let data = view.lookup(path.as_bytes())?.data()?;
    Some(data.try_into().map_or(-1, i64::from_be_bytes))
}

/// Reads once while `write` goes on; `check` judges what a successful read gave.
fn read_during<R: 'static>(
    mut writing: Writing,
    read: impl Fn(View<'_>) -> R + Copy + 'static,
    check: impl Fn(Zxid, R) + Copy + 'static,
    write: impl FnOnce(&mut Writing),
) {
    let tree = writing.tree();
    let reader = thread::spawn(move || {
        if let Some((zxid, result)) = tree.try_read(read) {
            check(zxid, result);
        }
    });
    write(&mut writing);
    reader.join().expect("no panic");
    let (zxid, result) = writing.tree().try_read(read).expect("nobody writes");
    assert_eq!(zxid.0, writing.zxid - 1);
    check(zxid, result);
}

/// Fields that are used relaxed, so that nothing but the sequence and its fences orders them.
fn a_status_is_seen_whole_or_not_at_all() {
    explore(2, || {
        let read = |view: View<'_>| {
            let stat = view.lookup(b"/a").map(|node| node.stat()).unwrap_or_default();
            (stat.mzxid, stat.mtime, i64::from(stat.version))
        };
        let check = |zxid: Zxid, stat| assert_eq!(stat, (zxid.0, zxid.0, zxid.0));
        let mut writing = Writing::new(&["/a"]);
        writing.batch(|writing| writing.set("/a"));
        read_during(writing, read, check, |writing| writing.batch(|writing| writing.set("/a")));
    });
}

fn a_reader_that_is_disturbed_takes_the_lock() {
    explore(2, || {
        let mut writing = Writing::new(&["/a"]);
        let tree = writing.tree();
        let reader = thread::spawn(move || {
            let (zxid, a) = tree.read(|view| number(view, "/a"));
            assert_eq!(a, Some(zxid.0));
        });
        for _ in 0..2 {
            writing.batch(|writing| writing.set("/a"));
        }
        reader.join().expect("no panic");
    });
}

fn data_is_replaced_and_its_memory_used_again() {
    explore(2, || {
        let read = |view: View<'_>| number(view, "/a");
        let check = |zxid: Zxid, a| assert_eq!(a, Some(zxid.0));
        read_during(Writing::new(&["/a"]), read, check, |writing| {
            for _ in 0..2 {
                writing.batch(|writing| writing.set("/a"));
            }
        });
    });
}

fn a_parents_data_is_replaced() {
    explore(2, || {
        let read = |view: View<'_>| (number(view, "/a"), view.applied());
        let check = |zxid: Zxid, (a, applied)| {
            assert_eq!((a, applied), (Some(zxid.0), zxid));
        };
        let mut writing = Writing::new(&["/a", "/a/b"]);
        writing.batch(|writing| writing.set("/a"));
        read_during(writing, read, check, |writing| writing.batch(|writing| writing.set("/a")));
    });
}

/// Two segments of eight entries, seven used at most: some of the four that come make one grow.
fn tables_grow_under_a_look_up() {
    explore(2, || {
        let paths = ["/a", "/b", "/c", "/d", "/e", "/f", "/g", "/h", "/i", "/j"];
        let read = |view: View<'_>| (number(view, "/a"), number(view, "/l"));
        let check = |zxid: Zxid, numbers| {
            assert_eq!(numbers, (Some(1), (zxid.0 == 11).then_some(11)));
        };
        read_during(Writing::new(&paths), read, check, |writing| {
            writing.batch(|writing| {
                for path in ["/k", "/l"] {
                    writing.create(path);
                }
            });
        });
    });
}

/// The first chunk of slots has eight: the root, three nodes that every tree has, and these.
fn a_chunk_is_added_under_a_look_up() {
    explore(2, || {
        let read = |view: View<'_>| number(view, "/e");
        let check = |zxid: Zxid, e| assert_eq!(e, (zxid.0 == 5).then_some(5));
        read_during(Writing::new(&["/a", "/b", "/c", "/d"]), read, check, |writing| {
            writing.batch(|writing| writing.create("/e"));
        });
    });
}

fn a_list_of_children_grows_and_shrinks() {
    explore(2, || {
        let read = |view: View<'_>| {
            let mut names = Vec::new();
            let Some(parent) = view.lookup(b"/a") else { return (0, 0) };
            parent.for_each_child(|name| names.push(name.to_vec()));
            (parent.num_children(), names.len())
        };
        let check = |zxid: Zxid, children| {
            let expected = if zxid.0 < 6 { 4 } else { 5 };
            assert_eq!(children, (expected, expected));
        };
        let writing = Writing::new(&["/a", "/a/1", "/a/2", "/a/3", "/a/4"]);
        read_during(writing, read, check, |writing| {
            writing.batch(|writing| writing.create("/a/5"));
        });
    });
}

fn a_node_is_deleted_under_a_read() {
    explore(2, || {
        let read = |view: View<'_>| (number(view, "/a"), number(view, "/b"));
        let check = |zxid: Zxid, (a, b)| {
            let expected = match zxid.0 {
                1 => (Some(1), None),
                _ => (None, Some(zxid.0)),
            };
            assert_eq!((a, b), expected);
        };
        read_during(Writing::new(&["/a"]), read, check, |writing| {
            writing.batch(|writing| {
                writing.delete("/a");
                writing.create("/b");
            });
        });
    });
}

fn an_acl_is_replaced_under_a_read() {
    /// A list that no other node has: these permissions for everybody.
    fn set(writing: &mut Writing, perms: i32) {
        let entry = AclEntry { perms, scheme: Some(b"world"), id: Some(b"anyone") };
        let mut list = Vec::new();
        encode_acl_list([entry].into_iter(), &mut list);
        let list = AclList::decode(&mut Reader::new(&list)).expect("a list").expect("a list");
        writing.writer.set_acl(b"/a", list, 1).expect("the node is there");
    }
    explore(2, || {
        let read = |view: View<'_>| view.lookup(b"/a")?.acl().map(|acl| acl.world_perms());
        let check = |zxid: Zxid, perms| assert_eq!(perms, Some(zxid.0 as i32));
        let mut writing = Writing::new(&["/a"]);
        writing.batch(|writing| set(writing, 2));
        read_during(writing, read, check, |writing| {
            writing.batch(|writing| set(writing, 3));
            writing.batch(|writing| set(writing, 4));
        });
    });
}
