//! A growing table that never moves: readers keep using it while the writer adds to it.

use crate::base::sync::{AtomicI32, AtomicI64, AtomicPtr, AtomicU32, Ordering, SMALL};
use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr;

/// Types for which zero bytes are a valid value and which need no drop.
///
/// # Safety
/// The implementer promises just that.
pub(super) unsafe trait Zeroable: Sync + Default {}

// SAFETY: a null pointer is a valid AtomicPtr.
unsafe impl<T> Zeroable for AtomicPtr<T> {}
// SAFETY: made of atomics only, for all of which zero is valid.
unsafe impl Zeroable for Slot {}

// SAFETY: as `Slot`.
unsafe impl Zeroable for Changed {}

/// A znode's fixed part: 40 bytes. Every field is atomic and used relaxed, because a reader may
/// look while the writer works; the tree's sequence number tells it to look again. `body` is
/// published with release.
///
/// What most znodes never change stands elsewhere, for those that do: the effects of setData and
/// setACL in [`Changed`], those of children with the child vector.
#[repr(C)]
#[derive(Default)]
pub(super) struct Slot {
    pub(super) czxid: AtomicI64,
    pub(super) ctime: AtomicI64,
    /// Index in the ACL table.
    pub(super) acl: AtomicU32,
    /// Slot of the parent.
    pub(super) parent: AtomicU32,
    /// Where the parent's child vector names this slot.
    pub(super) position: AtomicU32,
    /// Index of its [`Changed`]; 0 while data and ACL are those of its creation.
    pub(super) changed: AtomicU32,
    /// Null in a free slot, else a block or, tagged, the child vector that points on to the block.
    /// Leaves, which most nodes are, so pay for no child pointer.
    pub(super) body: AtomicPtr<u8>,
}

const _: () = assert!(SMALL || size_of::<Slot>() == 40);

/// The status of a znode whose data or ACL was set: 24 bytes, used like a slot's.
#[repr(C)]
#[derive(Default)]
pub(super) struct Changed {
    pub(super) mzxid: AtomicI64,
    pub(super) mtime: AtomicI64,
    pub(super) version: AtomicI32,
    pub(super) aversion: AtomicI32,
}

const _: () = assert!(SMALL || size_of::<Changed>() == 24);

/// Entries of the first chunk; the following ones double until they reach [`CHUNK`].
const FIRST_CHUNK: u32 = if SMALL { 8 } else { 64 };
/// Entries of every later chunk.
const CHUNK: u32 = 1 << 16;
const SMALL_CHUNKS: u32 = CHUNK.ilog2() - FIRST_CHUNK.ilog2() + 1;

/// `u32` to `T`, in chunks that stay where they are until the table is dropped.
pub(super) struct Chunks<T: Zeroable> {
    directory: Box<[AtomicPtr<T>]>,
}

/// The chunk of an index, the offset in it, and the chunk's size.
fn locate(index: u32) -> (usize, usize, usize) {
    if index < FIRST_CHUNK {
        return (0, index as usize, FIRST_CHUNK as usize);
    }
    if index < CHUNK {
        let power = index.ilog2();
        let base = 1u32 << power;
        return (
            (power - FIRST_CHUNK.ilog2() + 1) as usize,
            (index - base) as usize,
            base as usize,
        );
    }
    let chunk = SMALL_CHUNKS + (index >> 16) - 1;
    (chunk as usize, (index & (CHUNK - 1)) as usize, CHUNK as usize)
}

fn chunk_size(chunk: usize) -> usize {
    match chunk {
        0 => FIRST_CHUNK as usize,
        _ if chunk < SMALL_CHUNKS as usize => (FIRST_CHUNK as usize) << (chunk - 1),
        _ => CHUNK as usize,
    }
}

impl<T: Zeroable> Chunks<T> {
    /// A table for indices below `max`, a power of two.
    pub(super) fn new(max: u32) -> Self {
        assert!(max.is_power_of_two() && max > CHUNK, "table of {max}");
        let chunks = locate(max - 1).0 + 1;
        let directory = (0..chunks).map(|_| AtomicPtr::new(ptr::null_mut())).collect();
        Chunks { directory }
    }

    /// The entry, if its chunk exists. Any index is fine: a torn read may ask for anything.
    pub(super) fn at(&self, index: u32) -> Option<&T> {
        let (chunk, offset, _) = locate(index);
        // Acquire pairs with the release in `ensure`: the chunk's zeroes are there before its
        // address.
        let base = self.directory.get(chunk)?.load(Ordering::Acquire);
        if base.is_null() {
            return None;
        }
        // SAFETY: a non-null chunk has `chunk_size(chunk)` valid entries, `offset` is below that by
        // `locate`, and it is freed only by drop, which needs the table for itself. Needed because
        // the directory must be readable while it grows; a Vec would move.
        Some(unsafe { &*base.add(offset) })
    }

    /// Makes sure that `index` has an entry. Only the writer calls this.
    pub(super) fn ensure(&self, index: u32) -> &T {
        let (chunk, _, size) = locate(index);
        assert!(chunk < self.directory.len(), "tree is full: more than {index} entries");
        if self.directory[chunk].load(Ordering::Relaxed).is_null() {
            let layout = Self::layout(size);
            // SAFETY: the layout is not empty; zero bytes are valid entries by `Zeroable`.
            let base = unsafe { alloc_zeroed(layout) };
            if base.is_null() {
                handle_alloc_error(layout);
            }
            let base = base.cast::<T>();
            if SMALL {
                for nth in 0..size {
                    // SAFETY: room for `size` entries. The model's atomics are more than bytes.
                    unsafe { base.add(nth).write(T::default()) };
                }
            }
            self.directory[chunk].store(base, Ordering::Release);
        }
        self.at(index).expect("chunk was just made")
    }

    fn layout(size: usize) -> Layout {
        Layout::array::<T>(size).expect("a chunk is far below the limit")
    }
}

impl<T: Zeroable> Drop for Chunks<T> {
    fn drop(&mut self) {
        for (chunk, base) in self.directory.iter_mut().enumerate() {
            let base = *base.get_mut();
            if !base.is_null() {
                // SAFETY: allocated in `ensure` with this layout; `&mut self` says nobody looks any
                // more.
                unsafe { dealloc(base.cast(), Self::layout(chunk_size(chunk))) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_fill_chunks_without_gap_or_overlap() {
        let mut expected = (0, 0);
        let end = if cfg!(miri) { 3000 } else { 300_000 };
        for index in 0..end {
            let (chunk, offset, size) = locate(index);
            assert_eq!((chunk, offset), expected, "index {index}");
            assert_eq!(size, chunk_size(chunk));
            expected = if offset + 1 == size { (chunk + 1, 0) } else { (chunk, offset + 1) };
        }
    }

    #[test]
    fn absent_until_ensured() {
        let table = Chunks::<Slot>::new(1 << 17);
        assert!(table.at(5).is_none());
        table.ensure(5).czxid.store(7, Ordering::Relaxed);
        assert_eq!(table.at(5).unwrap().czxid.load(Ordering::Relaxed), 7);
        assert!(table.at(u32::MAX).is_none());
    }
}
