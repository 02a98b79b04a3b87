//! The heap parts of a znode: its block (name, data, owner) and, for those that have or had
//! children, its child vector. Both are reached through tagged pointers and freed through epochs.

use crossbeam::epoch;
use std::alloc::{Layout, alloc, alloc_zeroed, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

/// Permission to follow the tree's pointers during `'g`: the thread is pinned to the current epoch,
/// or is the writer, or the tree is not shared (yet, or any more). What is found stays allocated
/// during `'g`.
#[derive(Clone, Copy)]
pub(super) struct Access<'g>(PhantomData<&'g ()>);

impl Access<'_> {
    /// # Safety
    /// One of the three reasons above must hold for as long as the result is used.
    pub(super) unsafe fn new() -> Self {
        Access(PhantomData)
    }
}

const NULL_DATA: u32 = u32::MAX;
const HAS_OWNER: u32 = 1 << 31;
const OWNER_BYTES: usize = 8;

/// In memory: this header, the raw owner if it is not 0, the name, the data. Immutable once
/// published.
#[repr(C)]
struct BlockHeader {
    data_len: u32,
    name_len_and_owner: u32,
    /// Over full path and data: the prefix of the node's digest.
    crc: u32,
}

const BLOCK_HEADER: usize = size_of::<BlockHeader>();

/// A block that is alive during `'g`.
#[derive(Clone, Copy)]
pub(super) struct Block<'g> {
    header: NonNull<BlockHeader>,
    access: Access<'g>,
}

fn block_layout(name_len: usize, has_owner: bool, data_len: usize) -> Layout {
    let owner = if has_owner { OWNER_BYTES } else { 0 };
    let size = BLOCK_HEADER + owner + name_len + data_len;
    Layout::from_size_align(size, align_of::<BlockHeader>()).expect("lengths are below 4 GiB")
}

/// Makes a block; whoever gets it owns it until it is published.
pub(super) fn new_block(name: &[u8], data: Option<&[u8]>, owner: i64, crc: u32) -> *mut u8 {
    let bytes = data.unwrap_or_default();
    assert!(name.len() < HAS_OWNER as usize && bytes.len() < NULL_DATA as usize);
    let has_owner = owner != 0;
    let layout = block_layout(name.len(), has_owner, bytes.len());
    let header = BlockHeader {
        data_len: data.map_or(NULL_DATA, |data| data.len() as u32),
        name_len_and_owner: name.len() as u32 | if has_owner { HAS_OWNER } else { 0 },
        crc,
    };
    // SAFETY: the layout has room for the header and is aligned for it; every write below stays
    // inside the size that `block_layout` computed from the same lengths. Raw because header, name
    // and data share one allocation: three would cost a hundred bytes per znode.
    unsafe {
        let start = alloc(layout);
        if start.is_null() {
            handle_alloc_error(layout);
        }
        start.cast::<BlockHeader>().write(header);
        let mut at = start.add(BLOCK_HEADER);
        if has_owner {
            at.cast::<[u8; OWNER_BYTES]>().write(owner.to_ne_bytes());
            at = at.add(OWNER_BYTES);
        }
        ptr::copy_nonoverlapping(name.as_ptr(), at, name.len());
        ptr::copy_nonoverlapping(bytes.as_ptr(), at.add(name.len()), bytes.len());
        start
    }
}

/// # Safety
/// `block` came from `new_block`, nobody can reach it any more, and it is freed once.
unsafe fn free_block(block: *mut u8) {
    // SAFETY: the header is valid by the contract and gives back the layout of the allocation.
    unsafe {
        let header = block.cast::<BlockHeader>().read();
        let data_len = if header.data_len == NULL_DATA { 0 } else { header.data_len as usize };
        let name_len = (header.name_len_and_owner & !HAS_OWNER) as usize;
        let has_owner = header.name_len_and_owner & HAS_OWNER != 0;
        dealloc(block, block_layout(name_len, has_owner, data_len));
    }
}

impl<'g> Block<'g> {
    fn header(&self) -> &'g BlockHeader {
        let _ = self.access;
        // SAFETY: blocks are immutable after publication and live during 'g.
        unsafe { self.header.as_ref() }
    }

    /// Bytes at an offset behind the header.
    fn bytes(&self, offset: usize, len: usize) -> &'g [u8] {
        // SAFETY: callers take offset and length from the header, which describes the allocation;
        // the pointer has the provenance of the whole allocation, and the bytes never change.
        unsafe {
            let start = self.header.as_ptr().cast::<u8>().add(BLOCK_HEADER + offset);
            std::slice::from_raw_parts(start, len)
        }
    }

    fn owner_len(&self) -> usize {
        if self.header().name_len_and_owner & HAS_OWNER == 0 { 0 } else { OWNER_BYTES }
    }

    fn name_len(&self) -> usize {
        (self.header().name_len_and_owner & !HAS_OWNER) as usize
    }

    pub(super) fn crc(&self) -> u32 {
        self.header().crc
    }

    /// The raw owner.
    pub(super) fn owner(&self) -> i64 {
        match self.bytes(0, self.owner_len()).first_chunk::<OWNER_BYTES>() {
            Some(bytes) => i64::from_ne_bytes(*bytes),
            None => 0,
        }
    }

    pub(super) fn name(&self) -> &'g [u8] {
        self.bytes(self.owner_len(), self.name_len())
    }

    pub(super) fn data(&self) -> Option<&'g [u8]> {
        match self.header().data_len {
            NULL_DATA => None,
            len => Some(self.bytes(self.owner_len() + self.name_len(), len as usize)),
        }
    }
}

/// In memory: this header and `capacity` slot numbers.
#[repr(C)]
struct KidsHeader {
    block: AtomicPtr<u8>,
    len: AtomicU32,
    capacity: u32,
}

/// A child vector that is alive during `'g`.
#[derive(Clone, Copy)]
pub(super) struct Kids<'g> {
    header: NonNull<KidsHeader>,
    access: Access<'g>,
}

const KIDS_CAPACITY_MIN: u32 = 4;

fn kids_layout(capacity: u32) -> Layout {
    let size = size_of::<KidsHeader>() + capacity as usize * size_of::<u32>();
    Layout::from_size_align(size, align_of::<KidsHeader>()).expect("fewer than 2^32 children")
}

fn new_kids(block: *mut u8, capacity: u32) -> *mut u8 {
    let layout = kids_layout(capacity);
    // SAFETY: the layout fits and is aligned for the header; the rest is zero, valid for atomics.
    unsafe {
        let start = alloc_zeroed(layout);
        if start.is_null() {
            handle_alloc_error(layout);
        }
        let header = KidsHeader { block: AtomicPtr::new(block), len: AtomicU32::new(0), capacity };
        start.cast::<KidsHeader>().write(header);
        start
    }
}

/// # Safety
/// As `free_block`; the block it names is not freed.
unsafe fn free_kids(kids: *mut u8) {
    // SAFETY: the header is valid by the contract and gives back the layout.
    unsafe {
        let capacity = (*kids.cast::<KidsHeader>()).capacity;
        dealloc(kids, kids_layout(capacity));
    }
}

impl<'g> Kids<'g> {
    fn header(&self) -> &'g KidsHeader {
        let _ = self.access;
        // SAFETY: alive during 'g; shared mutation only through atomics.
        unsafe { self.header.as_ref() }
    }

    fn entries(&self) -> &'g [AtomicU32] {
        // SAFETY: `capacity` never changes and says how many entries the allocation has.
        unsafe {
            let start = self.header.as_ptr().add(1).cast::<AtomicU32>();
            std::slice::from_raw_parts(start, self.header().capacity as usize)
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.header().len.load(Ordering::Relaxed).min(self.header().capacity)
    }

    /// The slots of the children; only as many as there are entries, whatever a torn read says.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> + use<'g> {
        self.entries()[..self.len() as usize].iter().map(|slot| slot.load(Ordering::Relaxed))
    }
}

const TAG: usize = 1;

fn is_kids(body: *mut u8) -> bool {
    body.addr() & TAG != 0
}

fn untag(body: *mut u8) -> *mut u8 {
    body.map_addr(|addr| addr & !TAG)
}

fn tag(kids: *mut u8) -> *mut u8 {
    kids.map_addr(|addr| addr | TAG)
}

/// What a slot's body points to.
pub(super) fn load<'g>(
    body: &AtomicPtr<u8>,
    access: Access<'g>,
) -> (Option<Block<'g>>, Option<Kids<'g>>) {
    // Acquire pairs with the release that published it: what it points to is complete.
    let start = body.load(Ordering::Acquire);
    let kids = is_kids(start)
        .then(|| NonNull::new(untag(start).cast::<KidsHeader>()))
        .flatten()
        .map(|header| Kids { header, access });
    let block = match kids {
        Some(kids) => kids.header().block.load(Ordering::Acquire),
        None => start,
    };
    let block = NonNull::new(block.cast::<BlockHeader>()).map(|header| Block { header, access });
    (block, kids)
}

fn retire(free: unsafe fn(*mut u8), start: *mut u8) {
    if start.is_null() {
        return;
    }
    let address = SendPtr(start);
    // SAFETY: the caller unlinked `start` before; readers that still see it are pinned, and the
    // closure runs after they are gone. It holds nothing borrowed and may run on any thread.
    unsafe {
        epoch::pin().defer_unchecked(move || {
            let address = address;
            free(address.0);
        });
    }
}

struct SendPtr(*mut u8);
// SAFETY: the pointer is the only way to the memory by then; whichever thread frees it is alone
// with it.
unsafe impl Send for SendPtr {}

/// Writer only: puts a new block in place and retires the old one.
pub(super) fn replace_block(body: &AtomicPtr<u8>, block: *mut u8) {
    let start = body.load(Ordering::Relaxed);
    let old = if is_kids(start) {
        // SAFETY: only the writer frees or replaces child vectors, and it is here.
        unsafe { (*untag(start).cast::<KidsHeader>()).block.swap(block, Ordering::Release) }
    } else {
        body.swap(block, Ordering::Release)
    };
    retire(free_block, old);
}

/// Writer only: empties a body and retires what it had.
pub(super) fn clear(body: &AtomicPtr<u8>) {
    let start = body.swap(ptr::null_mut(), Ordering::Release);
    if is_kids(start) {
        // SAFETY: unlinked just now, freed after the epoch at the earliest.
        let block = unsafe { (*untag(start).cast::<KidsHeader>()).block.load(Ordering::Relaxed) };
        retire(free_block, block);
        retire(free_kids, untag(start));
    } else {
        retire(free_block, start);
    }
}

/// Frees a body at once.
///
/// # Safety
/// Nobody else can reach it: the tree is being dropped.
pub(super) unsafe fn free_now(body: *mut u8) {
    // SAFETY: by contract; each part is freed once.
    unsafe {
        if is_kids(body) {
            let block = (*untag(body).cast::<KidsHeader>()).block.load(Ordering::Relaxed);
            if !block.is_null() {
                free_block(block);
            }
            free_kids(untag(body));
        } else if !body.is_null() {
            free_block(body);
        }
    }
}

/// Writer only: replaces the child vector by one of another capacity (or makes the first one).
fn resize<'g>(body: &AtomicPtr<u8>, access: Access<'g>, capacity: u32) -> Kids<'g> {
    let (_, old) = load(body, access);
    let start = body.load(Ordering::Relaxed);
    let block = old.map_or(start, |kids| kids.header().block.load(Ordering::Relaxed));
    let new = new_kids(block, capacity);
    let header = NonNull::new(new.cast::<KidsHeader>()).expect("allocation succeeded");
    let kids = Kids { header, access };
    if let Some(old) = old {
        for (to, from) in kids.entries().iter().zip(old.slots()) {
            to.store(from, Ordering::Relaxed);
        }
        kids.header().len.store(old.len(), Ordering::Relaxed);
    }
    body.store(tag(new), Ordering::Release);
    if old.is_some() {
        retire(free_kids, untag(start));
    }
    kids
}

/// Grows by a half while small and by a quarter when that would waste much.
fn grown(capacity: u32) -> u32 {
    let step = if capacity < 4096 { capacity / 2 } else { capacity / 4 };
    capacity.saturating_add(step).max(KIDS_CAPACITY_MIN)
}

/// Writer only: appends a child and returns its position.
pub(super) fn push_child(body: &AtomicPtr<u8>, access: Access<'_>, slot: u32) -> u32 {
    let kids = match load(body, access).1 {
        Some(kids) if kids.len() < kids.header().capacity => kids,
        other => resize(body, access, other.map_or(KIDS_CAPACITY_MIN, |kids| grown(kids.len()))),
    };
    let position = kids.len();
    kids.entries()[position as usize].store(slot, Ordering::Relaxed);
    kids.header().len.store(position + 1, Ordering::Relaxed);
    position
}

/// Writer only: removes the child at a position; the last one takes its place and is returned if it
/// moved.
pub(super) fn remove_child(body: &AtomicPtr<u8>, access: Access<'_>, position: u32) -> Option<u32> {
    let kids = load(body, access).1.expect("a parent has a child vector");
    let last = kids.len().checked_sub(1).expect("a parent has children");
    assert!(position <= last, "child position {position} past {last}");
    let moved = kids.entries()[last as usize].load(Ordering::Relaxed);
    kids.entries()[position as usize].store(moved, Ordering::Relaxed);
    kids.header().len.store(last, Ordering::Relaxed);
    if kids.header().capacity > 64 && last < kids.header().capacity / 4 {
        resize(body, access, kids.header().capacity / 2);
    }
    (position != last).then_some(moved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access() -> Access<'static> {
        // SAFETY: the tests below touch nothing shared.
        unsafe { Access::new() }
    }

    #[test]
    fn blocks_keep_what_they_are_given() {
        for owner in [0, 7, i64::MIN] {
            for data in [None, Some(&b""[..]), Some(&b"data"[..])] {
                let body = AtomicPtr::new(new_block(b"name", data, owner, 99));
                let (block, kids) = load(&body, access());
                let block = block.unwrap();
                assert!(kids.is_none());
                assert_eq!((block.name(), block.data()), (&b"name"[..], data));
                assert_eq!((block.owner(), block.crc()), (owner, 99));
                // SAFETY: local to this test.
                unsafe { free_now(body.into_inner()) };
            }
        }
    }

    #[test]
    fn children_come_and_go() {
        let body = AtomicPtr::new(new_block(b"p", None, 0, 0));
        for slot in 0..300 {
            assert_eq!(push_child(&body, access(), slot), slot);
        }
        replace_block(&body, new_block(b"p", Some(b"new"), 0, 1));
        assert_eq!(remove_child(&body, access(), 0), Some(299));
        assert_eq!(remove_child(&body, access(), 298), None);
        for _ in 0..297 {
            remove_child(&body, access(), 0);
        }
        let (block, kids) = load(&body, access());
        assert_eq!(block.unwrap().data(), Some(&b"new"[..]));
        let kids = kids.unwrap();
        assert_eq!(kids.slots().count(), 1);
        assert!(kids.header().capacity < 100, "shrinks");
        // SAFETY: local to this test.
        unsafe { free_now(body.into_inner()) };
    }
}
