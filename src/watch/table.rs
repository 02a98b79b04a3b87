//! The watch table of a client core.

use std::collections::HashMap;
use std::sync::Arc;

use smallvec::SmallVec;

use super::watchers::{Modes, Watchers};
use crate::base::slab::{Key, Slab};
use crate::wire::{ErrorCode, EventType};

/// Stands for the path that a client did not send: null is a key of its own in Apache ZooKeeper's tables, apart from
/// the empty path. No path is these bytes, since malformed text is made well formed first; nothing ever fires here.
pub const NULL_PATH: &[u8] = b"\xff";

type Map<K, V> = HashMap<K, V, ahash::RandomState>;

/// What a request asks to be told (reference: data-model 9.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WatchKind {
    /// getData, exists: one event about the node itself.
    Data,
    /// getChildren: one event about the list of children, or the end of the node.
    Child,
    /// addWatch mode 0: every event about the node and its list of children.
    Persistent,
    /// addWatch mode 1: every event about the node and its descendants, except lists of children.
    PersistentRecursive,
}

/// Names a [`PathWatches`]; a different slab than the caller's connections.
type PathKey = Key;

/// The watches of one path in both tables. Lives while at least one of them has a watcher.
struct PathWatches {
    path: Arc<[u8]>,
    data: Watchers,
    child: Watchers,
    /// Watchers in `data` with the recursive mode; spares a walk over the others.
    recursive: u32,
}

/// What a connection watches. Lives from its first watch until [`WatchTable::remove_watcher`].
#[derive(Default)]
struct Watcher {
    /// A superset of the paths watched: firing does not search this list, so it may hold paths that
    /// are gone (their keys are stale), no longer watched, or doubled. Swept when it reaches
    /// `sweep_at`.
    paths: Vec<PathKey>,
    sweep_at: usize,
    /// It has had a watch in the data table. Apache ZooKeeper counts and lists such a connection
    /// until it closes, even when nothing is left (reference: admin-and-metrics 2.6).
    in_data: bool,
}

/// Entries a connection may gather before its list is swept for the first time.
const SWEEP_MIN: usize = 32;

/// Ancestors with recursive watchers, nearest first; rarely more than a few.
type Ancestors = SmallVec<[PathKey; 8]>;

/// All watches of one client core's connections (reference: data-model 9). Owned by that core.
///
/// A watcher is a connection, named by its key; the caller must call [`WatchTable::remove_watcher`]
/// when the connection goes, before the key can be given out again.
///
/// Invariants: every path in `paths` has a watcher; `data_watches`, `child_watches`, `data_paths`
/// and `recursive` are the totals of what the paths hold.
#[derive(Default)]
pub struct WatchTable {
    index: Map<Arc<[u8]>, PathKey>,
    paths: Slab<PathWatches>,
    watchers: Map<Key, Watcher>,
    data_watches: usize,
    child_watches: usize,
    data_paths: usize,
    data_watchers: usize,
    /// How long the paths with recursive watchers are, ascending, and how many registrations there are
    /// of each length: an event looks up those of its ancestors that have one of these lengths.
    recursive: Vec<(usize, usize)>,
}

impl WatchTable {
    pub fn new() -> WatchTable {
        WatchTable::default()
    }

    /// Registers a watch; registering it again changes nothing.
    pub fn add(&mut self, path: &[u8], watcher: Key, kind: WatchKind) {
        let path_key = self.path_key(path);
        let Some(at) = self.paths.get_mut(path_key) else { return };
        let known = at.data.modes(watcher).is_some() || at.child.modes(watcher).is_some();
        let (data, child) = match kind {
            WatchKind::Data => (Some(Modes::STANDARD), None),
            WatchKind::Child => (None, Some(Modes::STANDARD)),
            WatchKind::Persistent => (Some(Modes::PERSISTENT), Some(Modes::PERSISTENT)),
            WatchKind::PersistentRecursive => (Some(Modes::RECURSIVE), None),
        };
        if let Some(modes) = data {
            let before = at.data.add(watcher, modes);
            if before.is_none() {
                self.data_watches += 1;
                self.data_paths += usize::from(at.data.len() == 1);
            }
            let recursive = |modes: Modes| modes.intersects(Modes::RECURSIVE);
            if recursive(modes) && !before.is_some_and(recursive) {
                at.recursive += 1;
                count_length(&mut self.recursive, path.len());
            }
        }
        if let Some(modes) = child {
            self.child_watches += usize::from(at.child.add(watcher, modes).is_none());
        }
        self.note_path(watcher, path_key, known, data.is_some());
    }

    fn path_key(&mut self, path: &[u8]) -> PathKey {
        if let Some(key) = self.index.get(path) {
            return *key;
        }
        let path: Arc<[u8]> = path.into();
        let key = self.paths.insert(PathWatches {
            path: path.clone(),
            data: Watchers::Empty,
            child: Watchers::Empty,
            recursive: 0,
        });
        self.index.insert(path, key);
        key
    }

    /// Remembers at the connection that it watches a path, unless it is `known` to.
    fn note_path(&mut self, key: Key, path_key: PathKey, known: bool, in_data: bool) {
        let watcher = self.watchers.entry(key).or_default();
        if in_data && !watcher.in_data {
            watcher.in_data = true;
            self.data_watchers += 1;
        }
        if known {
            return;
        }
        if watcher.paths.len() >= watcher.sweep_at.max(SWEEP_MIN) {
            let paths = &self.paths;
            watcher.paths.sort_unstable_by_key(|path_key| path_key.to_bits());
            watcher.paths.dedup();
            watcher.paths.retain(|path_key| {
                paths
                    .get(*path_key)
                    .is_some_and(|at| at.data.modes(key).is_some() || at.child.modes(key).is_some())
            });
            // Twice what is alive: the cost of sweeping is spread over as many registrations.
            watcher.sweep_at = watcher.paths.len() * 2;
        }
        watcher.paths.push(path_key);
    }

    /// Fires one event of data-model 9.2: `fire` gets every connection to be told, each at most
    /// once, in no particular order. One-shot watches at `path` are consumed, whatever the caller
    /// does with the event.
    ///
    /// NodeChildrenChanged is for the child table, NodeCreated and NodeDataChanged for the data
    /// table with its recursive watches above; NodeDeleted is [`WatchTable::trigger_delete`].
    pub fn trigger(&mut self, event: EventType, path: &[u8], fire: &mut dyn FnMut(Key)) {
        match event {
            EventType::NodeCreated | EventType::NodeDataChanged => self.trigger_data(path, fire),
            EventType::NodeChildrenChanged => {
                if let Some(exact) = self.index.get(path).copied() {
                    self.consume_child(exact, fire);
                }
            }
            EventType::NodeDeleted => self.trigger_delete(path, fire),
        }
    }

    fn trigger_data(&mut self, path: &[u8], fire: &mut dyn FnMut(Key)) {
        let exact = self.index.get(path).copied();
        let above = self.recursive_above(path);
        self.fire_above(exact, &above, fire);
        if let Some(exact) = exact {
            self.consume_data(exact, fire);
        }
    }

    /// Fires NodeDeleted at the data table and then at the child table, where connections told by
    /// the first step are passed over (their one-shot watch is consumed all the same). The parent's
    /// NodeChildrenChanged is an event of its own.
    pub fn trigger_delete(&mut self, path: &[u8], fire: &mut dyn FnMut(Key)) {
        let exact = self.index.get(path).copied();
        let above = self.recursive_above(path);
        self.fire_above(exact, &above, fire);
        let Some(exact) = exact else { return };
        // Step 2 before the rest of step 1: it asks who step 1 tells, which step 1 forgets by
        // consuming. No connection gets both, so the order cannot be seen.
        if self.paths.get(exact).is_some_and(|at| !at.child.is_empty()) {
            let mut told: Vec<Key> = Vec::new();
            if let Some(at) = self.paths.get(exact) {
                at.child.for_each(|key, _| {
                    let first_step = at.data.modes(key).is_some() || self.recursive_in(&above, key);
                    if !first_step {
                        told.push(key);
                    }
                });
            }
            told.into_iter().for_each(&mut *fire);
            self.consume_data(exact, fire);
            self.consume_child(exact, &mut |_| {});
        } else {
            self.consume_data(exact, fire);
        }
    }

    /// Proper ancestors of `path` with recursive watchers, nearest first.
    fn recursive_above(&self, path: &[u8]) -> Ancestors {
        let mut above = Ancestors::new();
        // A hash for each length in use, and none for the other ancestors.
        let proper = self.recursive.partition_point(|(length, _)| *length < path.len());
        for (length, _) in self.recursive[..proper].iter().rev() {
            if *length == 0 || (*length > 1 && path[*length] != b'/') {
                continue;
            }
            let key = self.index.get(&path[..*length]).copied();
            above.extend(key.filter(|k| self.paths.get(*k).is_some_and(|at| at.recursive > 0)));
        }
        above
    }

    fn recursive_in(&self, above: &[PathKey], watcher: Key) -> bool {
        above.iter().any(|path_key| {
            self.paths.get(*path_key).is_some_and(|at| at.data.has(watcher, Modes::RECURSIVE))
        })
    }

    /// Tells the recursive watchers above, except those that the path itself or a nearer ancestor
    /// tells.
    fn fire_above(&self, exact: Option<PathKey>, above: &[PathKey], fire: &mut dyn FnMut(Key)) {
        let exact = exact.and_then(|path_key| self.paths.get(path_key));
        for (nearer, path_key) in above.iter().enumerate() {
            let Some(at) = self.paths.get(*path_key) else { continue };
            at.data.for_each(|key, modes| {
                let told = exact.is_some_and(|at| at.data.modes(key).is_some())
                    || self.recursive_in(&above[..nearer], key);
                if modes.intersects(Modes::RECURSIVE) && !told {
                    fire(key);
                }
            });
        }
    }

    fn consume_data(&mut self, path_key: PathKey, fire: &mut dyn FnMut(Key)) {
        let Some(at) = self.paths.get_mut(path_key) else { return };
        let gone = at.data.consume(&mut *fire);
        self.data_watches -= gone;
        self.data_paths -= usize::from(gone > 0 && at.data.is_empty());
        self.drop_if_empty(path_key);
    }

    fn consume_child(&mut self, path_key: PathKey, fire: &mut dyn FnMut(Key)) {
        let Some(at) = self.paths.get_mut(path_key) else { return };
        self.child_watches -= at.child.consume(&mut *fire);
        self.drop_if_empty(path_key);
    }

    fn drop_if_empty(&mut self, path_key: PathKey) {
        let empty = |at: &PathWatches| at.data.is_empty() && at.child.is_empty();
        if self.paths.get(path_key).is_some_and(empty)
            && let Some(at) = self.paths.remove(path_key)
        {
            self.index.remove(&at.path);
        }
    }

    /// Takes modes of a connection from the data table; says whether there were any.
    fn remove_data(&mut self, path_key: PathKey, watcher: Key, modes: Modes) -> bool {
        let Some(at) = self.paths.get_mut(path_key) else { return false };
        let removed = at.data.remove(watcher, modes);
        if removed.recursive {
            at.recursive -= 1;
            forget_length(&mut self.recursive, at.path.len());
        }
        self.data_watches -= usize::from(removed.gone);
        self.data_paths -= usize::from(removed.gone && at.data.is_empty());
        removed.any
    }

    fn remove_child(&mut self, path_key: PathKey, watcher: Key, modes: Modes) -> bool {
        let Some(at) = self.paths.get_mut(path_key) else { return false };
        let removed = at.child.remove(watcher, modes);
        self.child_watches -= usize::from(removed.gone);
        removed.any
    }

    /// Forgets a connection and all its watches.
    pub fn remove_watcher(&mut self, watcher: Key) {
        let Some(state) = self.watchers.remove(&watcher) else { return };
        self.data_watchers -= usize::from(state.in_data);
        for path_key in state.paths {
            self.remove_data(path_key, watcher, Modes::ALL);
            self.remove_child(path_key, watcher, Modes::ALL);
            self.drop_if_empty(path_key);
        }
    }

    /// removeWatches (reference: data-model 9.6). Other modes on the same path stay.
    ///
    /// Errors: MarshallingError for a type that does not exist, NoWatcher when nothing was removed.
    pub fn remove(&mut self, path: &[u8], watcher: Key, type_: i32) -> Result<(), ErrorCode> {
        let (data, child) = removal_modes(type_)?;
        let path_key = self.index.get(path).copied().ok_or(ErrorCode::NoWatcher)?;
        let from_data = data.is_some_and(|modes| self.remove_data(path_key, watcher, modes));
        let from_child = child.is_some_and(|modes| self.remove_child(path_key, watcher, modes));
        self.drop_if_empty(path_key);
        if from_data || from_child { Ok(()) } else { Err(ErrorCode::NoWatcher) }
    }

    /// checkWatches (reference: data-model 9.6); errors as [`WatchTable::remove`].
    pub fn check(&self, path: &[u8], watcher: Key, type_: i32) -> Result<(), ErrorCode> {
        let (data, child) = removal_modes(type_)?;
        // A persistent watch is in both tables or in neither, so looking into both is looking into
        // one.
        let found = self.index.get(path).and_then(|key| self.paths.get(*key)).is_some_and(|at| {
            data.is_some_and(|modes| at.data.has(watcher, modes))
                || child.is_some_and(|modes| at.child.has(watcher, modes))
        });
        if found { Ok(()) } else { Err(ErrorCode::NoWatcher) }
    }

    /// `zk_watch_count`: registrations in both tables, so a persistent watch counts twice.
    pub fn watches(&self) -> usize {
        self.data_watches + self.child_watches
    }

    /// Registrations in the data table: the total of `wchs`.
    pub fn data_watches(&self) -> usize {
        self.data_watches
    }

    /// Paths with a watch in the data table.
    pub fn data_paths(&self) -> usize {
        self.data_paths
    }

    /// Connections that have, or since they came have had, a watch in the data table.
    pub fn data_watchers(&self) -> usize {
        self.data_watchers
    }

    /// For `wchp`: each path of the data table with its watchers. O(watches).
    pub fn by_path(&self) -> impl Iterator<Item = (&[u8], Vec<Key>)> {
        self.paths.iter().filter(|(_, at)| !at.data.is_empty()).map(|(_, at)| {
            let mut keys = Vec::with_capacity(at.data.len());
            at.data.for_each(|key, _| keys.push(key));
            (&*at.path, keys)
        })
    }

    /// For `wchc`: each connection of [`WatchTable::data_watchers`] with the paths it watches in
    /// the data table, which may be none. O(watches).
    pub fn by_watcher(&self) -> impl Iterator<Item = (Key, Vec<&[u8]>)> {
        self.watchers.iter().filter(|(_, watcher)| watcher.in_data).map(|(key, watcher)| {
            let mut path_keys = watcher.paths.clone();
            path_keys.sort_unstable_by_key(|path_key| path_key.to_bits());
            path_keys.dedup();
            let watched = path_keys.into_iter().filter_map(|path_key| self.paths.get(path_key));
            let in_data = watched.filter(|at| at.data.modes(*key).is_some());
            (*key, in_data.map(|at| &*at.path).collect())
        })
    }
}

fn count_length(lengths: &mut Vec<(usize, usize)>, length: usize) {
    match lengths.binary_search_by_key(&length, |(length, _)| *length) {
        Ok(at) => lengths[at].1 += 1,
        Err(at) => lengths.insert(at, (length, 1)),
    }
}

fn forget_length(lengths: &mut Vec<(usize, usize)>, length: usize) {
    if let Ok(at) = lengths.binary_search_by_key(&length, |(length, _)| *length) {
        lengths[at].1 -= 1;
        if lengths[at].1 == 0 {
            lengths.remove(at);
        }
    }
}

/// The modes a `type` of removeWatches and checkWatches means, in the data and in the child table.
fn removal_modes(type_: i32) -> Result<(Option<Modes>, Option<Modes>), ErrorCode> {
    match type_ {
        1 => Ok((None, Some(Modes::STANDARD))),
        2 => Ok((Some(Modes::STANDARD), None)),
        3 => Ok((Some(Modes::ALL), Some(Modes::ALL))),
        4 => Ok((Some(Modes::PERSISTENT), Some(Modes::PERSISTENT))),
        5 => Ok((Some(Modes::RECURSIVE), None)),
        _ => Err(ErrorCode::MarshallingError),
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
