//! Full path to slot: 1,024 small hash tables, each growing on its own so that no resize holds up
//! the writer.
//!
//! Robin Hood probing in the order of hashes: a miss ends early although tables run 15/16 full, and
//! a removal shifts back instead of leaving a tombstone. Readers may see a shift half done; they
//! probe at most one table length and the tree's sequence number tells them to look again.

use super::body::Access;
use crate::base::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, SMALL, epoch, memory};
use std::ptr;

const SEGMENTS: usize = if SMALL { 2 } else { 1024 };
const SEGMENT_SHIFT: u32 = 64 - SEGMENTS.ilog2();
const CAPACITY_MIN: usize = 8;

/// An entry is `hash << 32 | slot`; 0 is free, slot 0 (the root) is never an entry.
fn entry(hash: u32, slot: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(slot)
}

struct Segment {
    /// Null, or capacity followed by that many entries.
    table: AtomicPtr<AtomicU64>,
    len: AtomicU32,
}

pub(super) struct Index {
    segments: Box<[Segment]>,
    hasher: ahash::RandomState,
}

fn home(hash: u32, capacity: usize) -> usize {
    ((u64::from(hash) * capacity as u64) >> 32) as usize
}

/// How far an entry at `at` is from where its hash wants it.
fn distance(entry: u64, at: usize, capacity: usize) -> usize {
    let home = home((entry >> 32) as u32, capacity);
    if at >= home { at - home } else { at + capacity - home }
}

fn after(at: usize, capacity: usize) -> usize {
    if at + 1 == capacity { 0 } else { at + 1 }
}

fn new_table(capacity: usize) -> *mut AtomicU64 {
    let mut table: Vec<AtomicU64> = Vec::with_capacity(capacity + 1);
    table.push(AtomicU64::new(capacity as u64));
    table.resize_with(capacity + 1, || AtomicU64::new(0));
    let table = Box::into_raw(table.into_boxed_slice()).cast();
    memory::made(table);
    table
}

/// # Safety
/// `table` came from `new_table`, is reachable by nobody else and is freed once.
unsafe fn free_table(table: *mut AtomicU64) {
    memory::gone(table);
    // SAFETY: the first element says how long the boxed slice was.
    unsafe {
        let capacity = (*table).load(Ordering::Relaxed) as usize;
        drop(Box::from_raw(ptr::slice_from_raw_parts_mut(table, capacity + 1)));
    }
}

impl Segment {
    fn entries<'g>(&self, _access: Access<'g>) -> &'g [AtomicU64] {
        // Acquire pairs with the release in `rebuild`.
        let table = self.table.load(Ordering::Acquire);
        if table.is_null() {
            return &[];
        }
        memory::seen(table);
        // SAFETY: by `Access` the table is not freed during 'g; its first element never changes and
        // is the number of those that follow. Needed because tables are replaced under running
        // readers.
        unsafe {
            let capacity = (*table).load(Ordering::Relaxed) as usize;
            std::slice::from_raw_parts(table.add(1), capacity)
        }
    }

    fn rebuild(&self, access: Access<'_>, capacity: usize) {
        let new = new_table(capacity);
        // SAFETY: just made, `capacity` entries behind the first element.
        let entries = unsafe { std::slice::from_raw_parts(new.add(1), capacity) };
        for old in self.entries(access) {
            let old = old.load(Ordering::Relaxed);
            if old != 0 {
                insert(entries, old);
            }
        }
        let old = self.table.swap(new, Ordering::Release);
        if !old.is_null() {
            let old = AtomicPtr::new(old);
            // SAFETY: unlinked above; readers that still probe it are pinned.
            unsafe { epoch::pin().defer_unchecked(move || free_table(old.into_inner())) };
        }
    }
}

fn insert(entries: &[AtomicU64], mut new: u64) {
    let capacity = entries.len();
    let mut at = home((new >> 32) as u32, capacity);
    let mut far = 0;
    loop {
        let here = entries[at].load(Ordering::Relaxed);
        if here == 0 {
            entries[at].store(new, Ordering::Relaxed);
            return;
        }
        let here_far = distance(here, at, capacity);
        if here_far < far {
            entries[at].store(new, Ordering::Relaxed);
            (new, far) = (here, here_far);
        }
        at = after(at, capacity);
        far += 1;
    }
}

/// The place of the first entry with this hash that `matches`.
fn probe(entries: &[AtomicU64], hash: u32, mut matches: impl FnMut(u32) -> bool) -> Option<usize> {
    let capacity = entries.len();
    let mut at = home(hash, capacity);
    for far in 0..capacity {
        let here = entries[at].load(Ordering::Relaxed);
        if here == 0 || distance(here, at, capacity) < far {
            return None;
        }
        if (here >> 32) as u32 == hash && matches(here as u32) {
            return Some(at);
        }
        at = after(at, capacity);
    }
    None
}

impl Index {
    pub(super) fn new() -> Self {
        let segment = || Segment { table: AtomicPtr::new(ptr::null_mut()), len: AtomicU32::new(0) };
        Index {
            segments: (0..SEGMENTS).map(|_| segment()).collect(),
            // Keys of its own per tree: clients choose paths and must not be able to choose
            // collisions.
            hasher: match SMALL {
                true => ahash::RandomState::with_seeds(1, 2, 3, 4),
                false => ahash::RandomState::new(),
            },
        }
    }

    /// The hash of a path, for the calls below.
    pub(super) fn hash(&self, path: &[u8]) -> u64 {
        self.hasher.hash_one(path)
    }

    fn segment(&self, hash: u64) -> &Segment {
        &self.segments[(hash >> SEGMENT_SHIFT) as usize]
    }

    pub(super) fn find(
        &self,
        access: Access<'_>,
        hash: u64,
        matches: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        let entries = self.segment(hash).entries(access);
        let at = probe(entries, hash as u32, matches)?;
        // A torn read may find anything here; the caller's validation throws it away.
        Some(entries[at].load(Ordering::Relaxed) as u32)
    }

    /// Writer only. `slot` is not 0 and the path not in the index yet.
    pub(super) fn insert(&self, access: Access<'_>, hash: u64, slot: u32) {
        let segment = self.segment(hash);
        let len = segment.len.load(Ordering::Relaxed) as usize + 1;
        let capacity = segment.entries(access).len();
        if len > capacity / 16 * 15 + capacity % 16 * 15 / 16 {
            let step = if capacity < 64 { capacity } else { capacity / 4 };
            segment.rebuild(access, (capacity + step).max(CAPACITY_MIN));
        }
        insert(segment.entries(access), entry(hash as u32, slot));
        segment.len.store(len as u32, Ordering::Relaxed);
    }

    /// Writer only. The slot must be in the index under this hash.
    pub(super) fn remove(&self, access: Access<'_>, hash: u64, slot: u32) {
        let segment = self.segment(hash);
        let entries = segment.entries(access);
        let capacity = entries.len();
        let found = probe(entries, hash as u32, |here| here == slot);
        let mut hole = found.expect("a znode is in the index");
        loop {
            let next = after(hole, capacity);
            let here = entries[next].load(Ordering::Relaxed);
            if here == 0 || distance(here, next, capacity) == 0 {
                break;
            }
            entries[hole].store(here, Ordering::Relaxed);
            hole = next;
        }
        entries[hole].store(0, Ordering::Relaxed);
        let len = segment.len.load(Ordering::Relaxed) - 1;
        segment.len.store(len, Ordering::Relaxed);
        if capacity > 64 && (len as usize) < capacity / 4 {
            segment.rebuild(access, capacity / 2);
        }
    }
}

impl Drop for Index {
    fn drop(&mut self) {
        for segment in &mut self.segments {
            let table = *segment.table.get_mut();
            if !table.is_null() {
                // SAFETY: `&mut self`: nobody probes any more; retired tables are not reachable
                // from here.
                unsafe { free_table(table) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;
    use std::collections::BTreeMap;

    #[test]
    fn agrees_with_a_map() {
        // SAFETY: one thread.
        let access = unsafe { Access::new() };
        let index = Index::new();
        let mut model = BTreeMap::new();
        let mut prng = Prng::new(3);
        let rounds = if cfg!(miri) { 600 } else { 60_000 };
        for slot in 1..rounds {
            // Few segments and few distinct hashes: long runs, wrap-around and equal hashes.
            let hash = prng.below(2) << SEGMENT_SHIFT | prng.below(400) << 23;
            if prng.chance(11, 20) {
                index.insert(access, hash, slot);
                model.insert(slot, hash);
            } else if let Some((&old, &hash)) = model.range(prng.below(slot.into()) as u32..).next()
            {
                index.remove(access, hash, old);
                model.remove(&old);
                assert_eq!(index.find(access, hash, |here| here == old), None);
            }
            if model.len() > 700 {
                for (old, hash) in std::mem::take(&mut model) {
                    assert_eq!(index.find(access, hash, |here| here == old), Some(old));
                    index.remove(access, hash, old);
                }
            }
        }
        for (&slot, &hash) in &model {
            assert_eq!(index.find(access, hash, |here| here == slot), Some(slot));
        }
    }
}
