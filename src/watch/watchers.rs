//! The watchers of one path in one table: one inline, a few in a vector, many in a hash map.

use std::collections::HashMap;

use crate::base::slab::Key;

/// A set of watch modes of one connection at one path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Modes(u8);

impl Modes {
    pub(super) const STANDARD: Modes = Modes(1);
    pub(super) const PERSISTENT: Modes = Modes(2);
    pub(super) const RECURSIVE: Modes = Modes(4);
    pub(super) const ALL: Modes = Modes(7);

    pub(super) fn intersects(self, other: Modes) -> bool {
        self.0 & other.0 != 0
    }

    fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn without(self, other: Modes) -> Modes {
        Modes(self.0 & !other.0)
    }

    fn with(self, other: Modes) -> Modes {
        Modes(self.0 | other.0)
    }
}

type Entry = (Key, Modes);

/// Up to this many watchers a linear scan beats hashing.
const FEW_MAX: usize = 8;

/// Connections and their modes; a connection appears at most once and never without a mode.
// Boxed, the map does not widen every path's entry: most paths have one watcher.
#[allow(clippy::box_collection)]
pub(super) enum Watchers {
    Empty,
    One(Entry),
    Few(Vec<Entry>),
    Many(Box<HashMap<Key, Modes, ahash::RandomState>>),
}

/// What [`Watchers::remove`] found.
pub(super) struct Removed {
    /// At least one of the modes was there.
    pub(super) any: bool,
    /// The recursive mode was among the removed ones.
    pub(super) recursive: bool,
    /// The connection has no mode left here.
    pub(super) gone: bool,
}

impl Watchers {
    pub(super) fn len(&self) -> usize {
        match self {
            Watchers::Empty => 0,
            Watchers::One(_) => 1,
            Watchers::Few(entries) => entries.len(),
            Watchers::Many(map) => map.len(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn modes(&self, key: Key) -> Option<Modes> {
        match self {
            Watchers::Empty => None,
            Watchers::One(entry) => (entry.0 == key).then_some(entry.1),
            Watchers::Few(entries) => entries.iter().find(|e| e.0 == key).map(|e| e.1),
            Watchers::Many(map) => map.get(&key).copied(),
        }
    }

    pub(super) fn has(&self, key: Key, modes: Modes) -> bool {
        self.modes(key).is_some_and(|present| present.intersects(modes))
    }

    fn modes_mut(&mut self, key: Key) -> Option<&mut Modes> {
        match self {
            Watchers::Empty => None,
            Watchers::One(entry) => (entry.0 == key).then_some(&mut entry.1),
            Watchers::Few(entries) => entries.iter_mut().find(|e| e.0 == key).map(|e| &mut e.1),
            Watchers::Many(map) => map.get_mut(&key),
        }
    }

    /// Adds modes; gives those the connection had here before.
    pub(super) fn add(&mut self, key: Key, modes: Modes) -> Option<Modes> {
        if let Some(present) = self.modes_mut(key) {
            let before = *present;
            *present = before.with(modes);
            return Some(before);
        }
        self.push((key, modes));
        None
    }

    fn push(&mut self, entry: Entry) {
        match self {
            Watchers::Empty => *self = Watchers::One(entry),
            Watchers::One(first) => *self = Watchers::Few(vec![*first, entry]),
            Watchers::Few(entries) if entries.len() < FEW_MAX => entries.push(entry),
            Watchers::Few(entries) => {
                let all = entries.drain(..).chain([entry]);
                *self = Watchers::Many(Box::new(all.collect()));
            }
            Watchers::Many(map) => {
                map.insert(entry.0, entry.1);
            }
        }
    }

    /// Takes modes from a connection.
    pub(super) fn remove(&mut self, key: Key, modes: Modes) -> Removed {
        let Some(present) = self.modes_mut(key) else {
            return Removed { any: false, recursive: false, gone: false };
        };
        let before = *present;
        *present = before.without(modes);
        let gone = present.is_empty();
        if gone {
            self.drop_key(key);
        }
        Removed {
            any: before.intersects(modes),
            recursive: before.intersects(Modes::RECURSIVE) && modes.intersects(Modes::RECURSIVE),
            gone,
        }
    }

    fn drop_key(&mut self, key: Key) {
        match self {
            Watchers::Empty | Watchers::One(_) => *self = Watchers::Empty,
            Watchers::Few(entries) => entries.retain(|e| e.0 != key),
            Watchers::Many(map) => {
                map.remove(&key);
            }
        }
    }

    pub(super) fn for_each(&self, mut visit: impl FnMut(Key, Modes)) {
        match self {
            Watchers::Empty => {}
            Watchers::One(entry) => visit(entry.0, entry.1),
            Watchers::Few(entries) => entries.iter().for_each(|e| visit(e.0, e.1)),
            Watchers::Many(map) => map.iter().for_each(|(key, modes)| visit(*key, *modes)),
        }
    }

    /// Visits every watcher and takes the standard mode from each; gives how many have none left.
    pub(super) fn consume(&mut self, mut visit: impl FnMut(Key)) -> usize {
        let before = self.len();
        let mut keep = |key: Key, modes: &mut Modes| {
            visit(key);
            *modes = modes.without(Modes::STANDARD);
            !modes.is_empty()
        };
        match self {
            Watchers::Empty => {}
            Watchers::One(entry) => {
                if !keep(entry.0, &mut entry.1) {
                    *self = Watchers::Empty;
                }
            }
            Watchers::Few(entries) => entries.retain_mut(|e| keep(e.0, &mut e.1)),
            Watchers::Many(map) => map.retain(|key, modes| keep(*key, modes)),
        }
        before - self.len()
    }
}
