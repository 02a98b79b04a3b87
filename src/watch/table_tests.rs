use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::base::prng::Prng;

fn key(n: u64) -> Key {
    Key::from_bits(n)
}

fn fired(table: &mut WatchTable, event: EventType, path: &str) -> Vec<u64> {
    let mut keys = Vec::new();
    table.trigger(event, path.as_bytes(), &mut |key| keys.push(key.to_bits()));
    keys.sort_unstable();
    keys
}

use EventType::{
    NodeChildrenChanged as Children, NodeCreated as Created, NodeDataChanged as Changed,
    NodeDeleted as Deleted,
};
use WatchKind::{Child, Data, Persistent, PersistentRecursive as Recursive};

#[test]
fn a_standard_watch_fires_once_and_only_for_its_table() {
    let mut table = WatchTable::new();
    table.add(b"/a", key(1), Data);
    table.add(b"/a", key(1), Data);
    table.add(b"/a", key(2), Child);
    assert_eq!(table.watches(), 2);
    assert_eq!(fired(&mut table, Children, "/a"), [2]);
    assert_eq!(fired(&mut table, Children, "/a"), Vec::<u64>::new());
    assert_eq!(fired(&mut table, Changed, "/a/b"), Vec::<u64>::new());
    assert_eq!(fired(&mut table, Changed, "/a"), [1]);
    assert_eq!(fired(&mut table, Changed, "/a"), Vec::<u64>::new());
    assert_eq!((table.watches(), table.index.len(), table.paths.len()), (0, 0, 0));
}

#[test]
fn a_persistent_watch_stays_and_sees_its_node_and_children() {
    let mut table = WatchTable::new();
    table.add(b"/a", key(1), Persistent);
    table.add(b"/a", key(1), Data);
    assert_eq!(table.watches(), 2);
    for _ in 0..2 {
        assert_eq!(fired(&mut table, Created, "/a"), [1]);
        assert_eq!(fired(&mut table, Changed, "/a"), [1]);
        assert_eq!(fired(&mut table, Children, "/a"), [1]);
        assert_eq!(fired(&mut table, Changed, "/a/b"), Vec::<u64>::new());
        assert_eq!(fired(&mut table, Deleted, "/a"), [1]);
    }
}

#[test]
fn a_recursive_watch_sees_descendants_but_never_lists_of_children() {
    let mut table = WatchTable::new();
    table.add(b"/a", key(1), Recursive);
    table.add(b"/", key(2), Recursive);
    for path in ["/a", "/a/b", "/a/b/c"] {
        for event in [Created, Changed, Deleted] {
            assert_eq!(fired(&mut table, event, path), [1, 2], "{event:?} {path}");
        }
        assert_eq!(fired(&mut table, Children, path), Vec::<u64>::new());
    }
    // A name that only begins alike is no descendant; the root is its own.
    assert_eq!(fired(&mut table, Changed, "/ab"), [2]);
    assert_eq!(fired(&mut table, Changed, "/"), [2]);
    assert_eq!(fired(&mut table, Created, "/zookeeper/config"), [2]);
}

#[test]
fn one_frame_per_connection_and_step_however_many_watches() {
    let mut table = WatchTable::new();
    for path in ["/", "/a", "/a/b", "/a/b/c"] {
        table.add(path.as_bytes(), key(1), Recursive);
    }
    table.add(b"/a/b/c", key(1), Data);
    table.add(b"/a/b/c", key(1), Persistent);
    assert_eq!(fired(&mut table, Changed, "/a/b/c"), [1]);
    assert_eq!(fired(&mut table, Changed, "/a/b/c/d"), [1]);
    assert_eq!(fired(&mut table, Deleted, "/a/b/c"), [1]);
}

#[test]
fn deletion_tells_child_watchers_not_told_already_and_consumes_all() {
    let mut table = WatchTable::new();
    table.add(b"/a/b", key(1), Data);
    table.add(b"/a/b", key(1), Child);
    table.add(b"/a/b", key(2), Child);
    table.add(b"/a/b", key(3), Child);
    table.add(b"/a", key(3), Recursive);
    assert_eq!(fired(&mut table, Deleted, "/a/b"), [1, 2, 3]);
    assert_eq!(table.watches(), 1);
    assert_eq!(fired(&mut table, Children, "/a/b"), Vec::<u64>::new());
    assert_eq!(fired(&mut table, Deleted, "/a/b"), [3]);
}

#[test]
fn removal_takes_the_modes_its_type_names() {
    let fill = || {
        let mut table = WatchTable::new();
        for kind in [Data, Child, Persistent, Recursive] {
            table.add(b"/a", key(1), kind);
        }
        table
    };
    for type_ in 1..=5 {
        let mut table = fill();
        assert_eq!(table.check(b"/a", key(1), type_), Ok(()), "{type_}");
        assert_eq!(table.remove(b"/a", key(1), type_), Ok(()), "{type_}");
        assert_eq!(table.remove(b"/a", key(1), type_), Err(ErrorCode::NoWatcher), "{type_}");
        for other in 1..=5 {
            let gone = other == type_ || type_ == 3;
            assert_eq!(table.check(b"/a", key(1), other).is_err(), gone, "{type_} {other}");
        }
        let recursive: &[(usize, usize)] = if type_ == 5 || type_ == 3 { &[] } else { &[(2, 1)] };
        assert_eq!(table.recursive, recursive);
    }
    let mut table = fill();
    for type_ in [0, 6, -1] {
        assert_eq!(table.check(b"/a", key(1), type_), Err(ErrorCode::MarshallingError));
        assert_eq!(table.remove(b"/x", key(1), type_), Err(ErrorCode::MarshallingError));
    }
    assert_eq!(table.remove(b"/a", key(2), 3), Err(ErrorCode::NoWatcher));
    assert_eq!(table.check(b"/b", key(1), 3), Err(ErrorCode::NoWatcher));
}

#[test]
fn counts_are_those_of_wchs_and_of_the_metric() {
    // The capture of admin-and-metrics 2.6: wchs says 1 watch, zk_watch_count says 3.
    let mut table = WatchTable::new();
    table.add(b"/app", key(1), Data);
    table.add(b"/app", key(1), Persistent);
    table.add(b"/", key(1), Child);
    table.add(b"/app", key(1), Child);
    assert_eq!((table.data_watchers(), table.data_paths(), table.data_watches()), (1, 1, 1));
    assert_eq!(table.watches(), 3);
    table.add(b"/", key(2), Child);
    assert_eq!((table.data_watchers(), table.watches()), (1, 4));
    let by_path: Vec<_> = table.by_path().collect();
    assert_eq!(by_path, [(&b"/app"[..], vec![key(1)])]);
    let by_watcher: Vec<_> = table.by_watcher().collect();
    assert_eq!(by_watcher, [(key(1), vec![&b"/app"[..]])]);
}

#[test]
fn a_connection_whose_data_watches_fired_is_listed_until_it_closes() {
    let mut table = WatchTable::new();
    table.add(b"/a", key(1), Data);
    assert_eq!(fired(&mut table, Changed, "/a"), [1]);
    assert_eq!((table.data_watchers(), table.data_paths(), table.data_watches()), (1, 0, 0));
    assert_eq!(table.by_watcher().collect::<Vec<_>>(), [(key(1), vec![])]);
    table.remove_watcher(key(1));
    assert_eq!(table.data_watchers(), 0);
    assert_eq!(table.by_watcher().count(), 0);
}

#[test]
fn a_connection_that_watches_again_and_again_does_not_grow() {
    let mut table = WatchTable::new();
    table.add(b"/stays", key(1), Persistent);
    // Paths that outlive its watch because somebody else watches them, and that it still watches
    // otherwise.
    table.add(b"/n0", key(2), Persistent);
    table.add(b"/n1", key(1), Child);
    for n in 0..10_000 {
        let path = format!("/n{}", n % 100);
        table.add(path.as_bytes(), key(1), Data);
        assert!(fired(&mut table, Changed, &path).contains(&1));
    }
    assert!(table.watchers[&key(1)].paths.len() <= SWEEP_MIN);
    for _ in 0..10_000 {
        table.add(b"/n0", key(1), Data);
        assert_eq!(fired(&mut table, Changed, "/n0"), [1, 2]);
        // Registered at the moment of every sweep.
        table.add(b"/n0", key(1), Data);
    }
    for n in 0..10_000 {
        table.add(b"/n0", key(1), Data);
        if n % 2 == 0 {
            assert_eq!(fired(&mut table, Changed, "/n0"), [1, 2]);
        } else {
            table.add(format!("/m{}", n % 8).as_bytes(), key(1), Data);
            assert_eq!(fired(&mut table, Changed, &format!("/m{}", n % 8)), [1]);
        }
    }
    assert!(table.watchers[&key(1)].paths.len() <= SWEEP_MIN);
    table.remove_watcher(key(1));
    table.remove_watcher(key(2));
    assert_eq!((table.watches(), table.paths.len(), table.watchers.len()), (0, 0, 0));
}

/// The rules of data-model 9 written down as directly as possible: (table, path, connection) to
/// modes.
#[derive(Default)]
struct Model {
    modes: BTreeMap<(bool, String, u64), BTreeSet<u8>>,
}

impl Model {
    fn add(&mut self, path: &str, watcher: u64, kind: WatchKind) {
        let (tables, mode): (&[bool], u8) = match kind {
            Data => (&[false], 0),
            Child => (&[true], 0),
            Persistent => (&[false, true], 1),
            Recursive => (&[false], 2),
        };
        for child in tables {
            self.modes.entry((*child, path.into(), watcher)).or_default().insert(mode);
        }
    }

    fn step(&mut self, child: bool, path: &str) -> BTreeSet<u64> {
        let mut told = BTreeSet::new();
        for ((table, at, watcher), modes) in &mut self.modes {
            let below = at == "/" || path.starts_with(&format!("{at}/"));
            if *table == child && (at == path || (below && modes.contains(&2))) {
                told.insert(*watcher);
                if at == path {
                    modes.remove(&0);
                }
            }
        }
        self.modes.retain(|_, modes| !modes.is_empty());
        told
    }

    fn trigger(&mut self, event: EventType, path: &str) -> Vec<u64> {
        let told = match event {
            Created | Changed => self.step(false, path),
            Children => self.step(true, path),
            Deleted => &self.step(false, path) | &self.step(true, path),
        };
        told.into_iter().collect()
    }

    fn remove(&mut self, path: &str, watcher: u64, type_: i32) -> bool {
        let mut any = false;
        for ((child, at, who), modes) in &mut self.modes {
            if at == path && *who == watcher {
                let before = modes.len();
                modes.retain(|mode| match type_ {
                    1 => !(*child && *mode == 0),
                    2 => *child || *mode != 0,
                    3 => false,
                    4 => *mode != 1,
                    _ => *mode != 2,
                });
                any |= modes.len() < before;
            }
        }
        self.modes.retain(|_, modes| !modes.is_empty());
        any
    }
}

fn compare_counts(table: &WatchTable, model: &Model) {
    let data: Vec<_> = model.modes.keys().filter(|(child, ..)| !child).collect();
    let paths: BTreeSet<_> = data.iter().map(|(_, path, _)| path).collect();
    assert_eq!(table.watches(), model.modes.len());
    assert_eq!((table.data_watches(), table.data_paths()), (data.len(), paths.len()));
    let all_paths: BTreeSet<_> = model.modes.keys().map(|(_, path, _)| path).collect();
    assert_eq!((table.index.len(), table.paths.len()), (all_paths.len(), all_paths.len()));
    let mut recursive = BTreeMap::new();
    for ((_, path, _), _) in model.modes.iter().filter(|(_, modes)| modes.contains(&2)) {
        *recursive.entry(path.len()).or_insert(0) += 1;
    }
    assert_eq!(table.recursive, Vec::from_iter(recursive));
    let mut listed = BTreeSet::new();
    for (path, keys) in table.by_path() {
        let path = String::from_utf8(path.to_vec()).unwrap();
        listed.extend(keys.into_iter().map(|key| (false, path.clone(), key.to_bits())));
    }
    assert!(listed.iter().eq(data.iter().copied()));
    let mut listed = BTreeSet::new();
    for (key, paths) in table.by_watcher() {
        for path in paths {
            let path = String::from_utf8(path.to_vec()).unwrap();
            assert!(listed.insert((false, path, key.to_bits())), "listed twice");
        }
    }
    assert!(listed.iter().eq(data.iter().copied()));
}

#[test]
fn agrees_with_the_rules_over_random_histories() {
    let paths = ["/", "/a", "/a/b", "/a/b/c", "/a/bb", "/ab", "/z"];
    for seed in 0..60 {
        let mut rng = Prng::new(seed);
        let (mut table, mut model) = (WatchTable::new(), Model::default());
        // Enough connections in some histories to leave the small representations.
        let connections = [3, 30][seed as usize % 2];
        for _ in 0..600 {
            let path = paths[rng.below(paths.len() as u64) as usize];
            let watcher = rng.below(connections);
            match rng.below(10) {
                0..=4 => {
                    let kind = [Data, Child, Persistent, Recursive][rng.below(4) as usize];
                    table.add(path.as_bytes(), key(watcher), kind);
                    model.add(path, watcher, kind);
                }
                5..=6 => {
                    let event = [Created, Deleted, Changed, Children][rng.below(4) as usize];
                    let expected = model.trigger(event, path);
                    let got = fired(&mut table, event, path);
                    assert_eq!(got, expected, "seed {seed} {event:?} {path}");
                }
                7..=8 => {
                    let type_ = 1 + rng.below(5) as i32;
                    let expected = model.remove(path, watcher, type_);
                    let checked = table.check(path.as_bytes(), key(watcher), type_).is_ok();
                    assert_eq!(checked, expected, "seed {seed} check {type_} {path}");
                    let removed = table.remove(path.as_bytes(), key(watcher), type_).is_ok();
                    assert_eq!(removed, expected, "seed {seed} remove {type_} {path}");
                }
                _ => {
                    table.remove_watcher(key(watcher));
                    model.modes.retain(|(_, _, who), _| *who != watcher);
                }
            }
            compare_counts(&table, &model);
        }
    }
}
