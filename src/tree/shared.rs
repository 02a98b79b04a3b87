//! The shared tree: what readers on client cores see while the one writer works.
//!
//! A sequence number guards everything. It is odd while the writer works; a reader remembers it,
//! reads, and keeps what it read only if the number has not moved. All it can meet in between is
//! stale or mixed values, never freed memory (epochs), never an index out of bounds (checked),
//! never an endless loop ([`View::torn`]). `tests/lock_free.rs` runs this under a model checker: the
//! orderings here and below suffice, and each is needed.

use super::acl_cache::AclTable;
use super::block_heap::HeapMemory;
use super::body::{self, Access};
use super::chunks::{Changed, Chunks, Slot};
use super::ephemerals::EphemeralIndex;
use super::index::Index;
use super::lock::FairLock;
use super::owner::OwnerOptions;
use super::path;
use super::view::View;
use crate::base::Zxid;
use crate::base::sync::{
    AtomicI64, AtomicU32, AtomicU64, Ordering, SMALL, epoch, fence, spin_loop, yield_now,
};
use std::sync::Arc;

/// Slot of the root; never an entry of the index.
pub(super) const ROOT_SLOT: u32 = 0;
/// A tree's limit, in znodes: 40 GiB of slots alone.
const SLOTS_MAX: u32 = if SMALL { 1 << 17 } else { 1 << 30 };
/// How often a reader looks at a busy tree before it takes the lock.
const BUSY_LOOKS_MAX: u32 = if SMALL { 2 } else { 64 };
/// How often a reader may read in vain before it takes the lock: a long read among constant writes
/// must end.
const TORN_READS_MAX: u32 = if SMALL { 1 } else { 4 };
/// Looks at a busy tree without giving up the CPU: a batch is often shorter than a context switch.
const SPINS: u32 = if SMALL { 1 } else { 16 };

/// The data tree. Shared by all cores; only its [`TreeWriter`](super::TreeWriter), on the Zab core,
/// changes it.
///
/// `applied` only moves forward, together with everything a transaction changed.
pub struct Tree {
    pub(super) slots: Chunks<Slot>,
    /// Entry 0 is nobody's.
    pub(super) changed: Chunks<Changed>,
    /// Slots that were ever in use: all at and above are free.
    pub(super) slots_used: AtomicU32,
    pub(super) index: Index,
    pub(super) acls: AclTable,
    pub(super) ephemerals: EphemeralIndex,
    pub(super) options: OwnerOptions,
    pub(super) nodes: AtomicU64,
    /// Bytes of paths and data.
    pub(super) bytes: AtomicI64,
    applied: AtomicI64,
    digest: AtomicU64,
    sequence: AtomicU64,
    lock: FairLock,
    /// Keeps the blocks in the slots allocated.
    _memory: Arc<HeapMemory>,
}

enum Attempt<R> {
    /// The writer is at work.
    Busy,
    /// The writer came in between.
    Torn,
    Done(Zxid, R),
}

impl Tree {
    pub(super) fn new(options: OwnerOptions, memory: Arc<HeapMemory>) -> Self {
        Tree {
            slots: Chunks::new(SLOTS_MAX),
            changed: Chunks::new(SLOTS_MAX),
            slots_used: AtomicU32::new(0),
            index: Index::new(),
            acls: AclTable::new(),
            ephemerals: EphemeralIndex::default(),
            options,
            nodes: AtomicU64::new(0),
            bytes: AtomicI64::new(0),
            applied: AtomicI64::new(0),
            digest: AtomicU64::new(0),
            sequence: AtomicU64::new(0),
            lock: FairLock::default(),
            _memory: memory,
        }
    }

    /// The last transaction that readers can see. Lock-free; says nothing about a read done before
    /// or after.
    pub fn applied(&self) -> Zxid {
        Zxid(self.applied.load(Ordering::Acquire))
    }

    /// How raw owners are read.
    pub fn options(&self) -> OwnerOptions {
        self.options
    }

    /// One attempt at a consistent read: the result of `f` and the zxid it belongs to, or `None`
    /// because the writer was or came at work. Never waits.
    pub fn try_read<R>(&self, mut f: impl FnMut(View<'_>) -> R) -> Option<(Zxid, R)> {
        match self.attempt(&mut f) {
            Attempt::Done(zxid, result) => Some((zxid, result)),
            Attempt::Busy | Attempt::Torn => None,
        }
    }

    /// A consistent read: the result of `f` and the zxid it belongs to.
    ///
    /// `f` may run several times, and all but its last run may see mixed states; it must only look,
    /// and start its output afresh. After a bounded number of attempts the reader keeps the writer
    /// out and reads in peace. Must not be called inside another read, nor by the writer while its
    /// batch is open.
    pub fn read<R>(&self, mut f: impl FnMut(View<'_>) -> R) -> (Zxid, R) {
        let (mut busy, mut torn) = (0, 0);
        while busy < BUSY_LOOKS_MAX && torn < TORN_READS_MAX {
            match self.attempt(&mut f) {
                Attempt::Done(zxid, result) => return (zxid, result),
                Attempt::Torn => torn += 1,
                Attempt::Busy if busy < SPINS => {
                    busy += 1;
                    spin_loop();
                }
                Attempt::Busy => {
                    busy += 1;
                    yield_now();
                }
            }
        }
        self.lock.lock();
        let attempt = self.attempt(&mut f);
        self.lock.unlock();
        match attempt {
            Attempt::Done(zxid, result) => (zxid, result),
            Attempt::Busy | Attempt::Torn => unreachable!("the writer works only under the lock"),
        }
    }

    fn attempt<R>(&self, f: &mut impl FnMut(View<'_>) -> R) -> Attempt<R> {
        // Declared before the view, so unpinned after its last use.
        let _pinned = epoch::pin();
        let sequence = self.sequence.load(Ordering::Acquire);
        if !sequence.is_multiple_of(2) {
            return Attempt::Busy;
        }
        let applied = self.applied.load(Ordering::Relaxed);
        // SAFETY: pinned until the end of this function; `f` cannot keep the view, whose lifetime
        // is its own. Needed: a lock around reads would send a cache line from core to core for
        // each of them.
        let access = unsafe { Access::new() };
        let result = f(View::new(self, access, sequence));
        if self.moved_since(sequence) {
            Attempt::Torn
        } else {
            Attempt::Done(Zxid(applied), result)
        }
    }

    /// True when the writer has begun a batch since `sequence` was read.
    pub(super) fn moved_since(&self, sequence: u64) -> bool {
        // Pairs with the fence in `begin`: having read anything of a batch means seeing its
        // sequence number.
        fence(Ordering::Acquire);
        self.sequence.load(Ordering::Relaxed) != sequence
    }

    /// Grows with every batch that the writer begins and publishes: readers that meet one begin again.
    pub fn changes(&self) -> u64 {
        self.sequence()
    }

    pub(super) fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Relaxed)
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest.load(Ordering::Relaxed)
    }

    /// Writer only: from here on readers know that what they see may be half done.
    pub(super) fn begin(&self) {
        self.lock.lock();
        let sequence = self.sequence.load(Ordering::Relaxed);
        assert!(sequence.is_multiple_of(2), "a batch is open already");
        self.sequence.store(sequence + 1, Ordering::Relaxed);
        // The odd number must be visible before any change of the batch is.
        fence(Ordering::Release);
    }

    /// Writer only: the batch is complete.
    pub(super) fn publish(&self, applied: Zxid, digest: u64) {
        let sequence = self.sequence.load(Ordering::Relaxed);
        assert!(!sequence.is_multiple_of(2), "no batch is open");
        self.digest.store(digest, Ordering::Relaxed);
        self.applied.store(applied.0, Ordering::Release);
        self.sequence.store(sequence + 1, Ordering::Release);
        self.lock.unlock();
    }

    /// The slot of a path.
    pub(super) fn find(&self, access: Access<'_>, path: &[u8]) -> Option<u32> {
        if path::is_root(path) {
            return Some(ROOT_SLOT);
        }
        self.find_hashed(access, self.index.hash(path), path)
    }

    /// As `find`, with the hash known; not for the root.
    pub(super) fn find_hashed(&self, access: Access<'_>, hash: u64, path: &[u8]) -> Option<u32> {
        self.index.find(access, hash, |slot| self.is_at(access, slot, path))
    }

    /// Compares names up the parent chain. Every step uses up a part of the path, so it ends in any
    /// state.
    fn is_at(&self, access: Access<'_>, mut slot: u32, path: &[u8]) -> bool {
        let mut rest = path;
        while slot != ROOT_SLOT {
            let Some(node) = self.slots.at(slot) else { return false };
            let Some(block) = body::load(&node.body, access).0 else { return false };
            let Some(before) = rest.strip_suffix(block.name()) else { return false };
            let Some(before) = before.strip_suffix(b"/") else { return false };
            rest = before;
            slot = node.parent.load(Ordering::Relaxed);
        }
        rest.is_empty()
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        for index in 0..*self.slots_used.get_mut() {
            if let Some(slot) = self.slots.at(index) {
                // SAFETY: `&mut self`: no view is alive; bodies retired earlier are not in slots
                // any more.
                unsafe { body::free_now(slot.body.load(Ordering::Relaxed)) };
            }
        }
    }
}
