//! The heap parts of a znode: its block (name, data, owner) and, for those that have or had
//! children, its child vector. Both are reached through tagged pointers and freed through epochs.

use super::block_heap::{BlockHeap, HeapMemory};
use crate::base::sync::{AtomicI32, AtomicI64, AtomicPtr, AtomicU32, Ordering, epoch, memory};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::Arc;

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

const HAS_OWNER: u8 = 1;
const NULL_DATA: u8 = 2;
/// The length of the name takes four bytes instead of one; so with the data's.
const LONG_NAME: u8 = 4;
const LONG_DATA: u8 = 8;
const OWNER_BYTES: usize = 8;
const CRC_BYTES: usize = 4;

/// What a block's first bytes say. In memory: flags, length of the name, length of the data, CRC,
/// the raw owner if it is not 0, the name, the data; nothing aligned, immutable once published.
#[derive(Clone, Copy)]
struct Shape {
    flags: u8,
    name_len: usize,
    data_len: usize,
}

impl Shape {
    fn new(name: &[u8], data: Option<&[u8]>, owner: i64) -> Shape {
        let (name_len, data_len) = (name.len(), data.map_or(0, |data| data.len()));
        assert!(name_len <= u32::MAX as usize && data_len <= u32::MAX as usize);
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let flags = flag(owner != 0, HAS_OWNER)
            | flag(data.is_none(), NULL_DATA)
            | flag(name_len > u8::MAX as usize, LONG_NAME)
            | flag(data_len > u8::MAX as usize, LONG_DATA);
        Shape { flags, name_len, data_len }
    }

    /// # Safety
    /// `start` is a whole block.
    unsafe fn read(start: NonNull<u8>) -> Shape {
        // SAFETY: every block begins with its flags and lengths as `write` left them.
        unsafe {
            let flags = start.read();
            let shape = Shape { flags, name_len: 0, data_len: 0 };
            let length = |at: usize, long: u8| match flags & long {
                0 => start.add(at).read() as usize,
                _ => start.add(at).cast::<u32>().read_unaligned() as usize,
            };
            let name_len = length(1, LONG_NAME);
            let data_len = length(shape.data_len_at(), LONG_DATA);
            Shape { flags, name_len, data_len }
        }
    }

    /// # Safety
    /// `start` has room for all that this describes.
    unsafe fn write(&self, start: NonNull<u8>) {
        // SAFETY: by contract; unaligned because a block packs its parts.
        unsafe {
            start.write(self.flags);
            let length = |at: usize, long: u8, len: usize| match self.flags & long {
                0 => start.add(at).write(len as u8),
                _ => start.add(at).cast::<u32>().write_unaligned(len as u32),
            };
            length(1, LONG_NAME, self.name_len);
            length(self.data_len_at(), LONG_DATA, self.data_len);
        }
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    fn data_len_at(&self) -> usize {
        if self.has(LONG_NAME) { 1 + 4 } else { 1 + 1 }
    }

    fn crc_at(&self) -> usize {
        self.data_len_at() + if self.has(LONG_DATA) { 4 } else { 1 }
    }

    fn owner_at(&self) -> usize {
        self.crc_at() + CRC_BYTES
    }

    fn name_at(&self) -> usize {
        self.owner_at() + if self.has(HAS_OWNER) { OWNER_BYTES } else { 0 }
    }

    fn data_at(&self) -> usize {
        self.name_at() + self.name_len
    }

    /// Bytes of the whole block.
    fn block_len(&self) -> usize {
        self.data_at() + self.data_len
    }
}

/// A block that is alive during `'g`.
#[derive(Clone, Copy)]
pub(super) struct Block<'g> {
    start: NonNull<u8>,
    access: Access<'g>,
}

/// Makes a block; whoever gets it owns it until it is published.
pub(super) fn new_block(
    heap: &mut BlockHeap,
    name: &[u8],
    data: Option<&[u8]>,
    owner: i64,
    crc: u32,
) -> *mut u8 {
    let shape = Shape::new(name, data, owner);
    let start = heap.allocate(shape.block_len());
    let bytes = data.unwrap_or_default();
    // SAFETY: every write stays inside the length asked for, by `Shape`. Raw because all of a
    // znode's parts share one allocation: three would cost a hundred bytes per znode.
    unsafe {
        shape.write(start);
        start.add(shape.crc_at()).cast::<u32>().write_unaligned(crc);
        if shape.has(HAS_OWNER) {
            start.add(shape.owner_at()).cast::<i64>().write_unaligned(owner);
        }
        let to = start.as_ptr();
        ptr::copy_nonoverlapping(name.as_ptr(), to.add(shape.name_at()), name.len());
        ptr::copy_nonoverlapping(bytes.as_ptr(), to.add(shape.data_at()), bytes.len());
        memory::made(to);
        to
    }
}

impl<'g> Block<'g> {
    fn shape(&self) -> Shape {
        let _ = self.access;
        memory::seen(self.start.as_ptr());
        // SAFETY: blocks are complete and immutable after publication, and live during 'g.
        unsafe { Shape::read(self.start) }
    }

    fn bytes(&self, at: usize, len: usize) -> &'g [u8] {
        memory::seen(self.start.as_ptr());
        // SAFETY: callers take place and length from the shape, which describes the allocation; the
        // bytes never change during 'g.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr().add(at), len) }
    }

    pub(super) fn crc(&self) -> u32 {
        let bytes = self.bytes(self.shape().crc_at(), CRC_BYTES);
        bytes.first_chunk().map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    /// The raw owner.
    pub(super) fn owner(&self) -> i64 {
        let shape = self.shape();
        if !shape.has(HAS_OWNER) {
            return 0;
        }
        let bytes = self.bytes(shape.owner_at(), OWNER_BYTES);
        bytes.first_chunk().map_or(0, |bytes| i64::from_ne_bytes(*bytes))
    }

    pub(super) fn name(&self) -> &'g [u8] {
        let shape = self.shape();
        self.bytes(shape.name_at(), shape.name_len)
    }

    pub(super) fn data(&self) -> Option<&'g [u8]> {
        let shape = self.shape();
        (!shape.has(NULL_DATA)).then(|| self.bytes(shape.data_at(), shape.data_len))
    }
}

/// In memory: this header and `capacity` slot numbers. What only parents need lives here and not in
/// the slot; fields are used relaxed, as a slot's are.
#[repr(C)]
struct KidsHeader {
    block: AtomicPtr<u8>,
    pzxid: AtomicI64,
    cversion: AtomicI32,
    len: AtomicU32,
    capacity: u32,
}

/// The part of the status that children change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ChildrenStat {
    pub(super) pzxid: i64,
    /// Stored form: creations of children only.
    pub(super) cversion: i32,
}

/// A child vector that is alive during `'g`.
#[derive(Clone, Copy)]
pub(super) struct Kids<'g> {
    header: NonNull<KidsHeader>,
    access: Access<'g>,
}

const KIDS_CAPACITY_MIN: u32 = 4;

fn kids_layout(capacity: u32) -> Layout {
    let size = size_of::<KidsHeader>() + capacity as usize * size_of::<AtomicU32>();
    Layout::from_size_align(size, align_of::<KidsHeader>()).expect("fewer than 2^32 children")
}

fn new_kids(block: *mut u8, stat: ChildrenStat, capacity: u32) -> *mut u8 {
    let layout = kids_layout(capacity);
    // SAFETY: the layout fits header and entries and is aligned for both.
    unsafe {
        let start = alloc(layout);
        if start.is_null() {
            handle_alloc_error(layout);
        }
        let header = KidsHeader {
            block: AtomicPtr::new(block),
            pzxid: AtomicI64::new(stat.pzxid),
            cversion: AtomicI32::new(stat.cversion),
            len: AtomicU32::new(0),
            capacity,
        };
        start.cast::<KidsHeader>().write(header);
        let entries = start.cast::<KidsHeader>().add(1).cast::<AtomicU32>();
        for nth in 0..capacity as usize {
            entries.add(nth).write(AtomicU32::new(0));
        }
        memory::made(start);
        start
    }
}

/// # Safety
/// `kids` came from `new_kids`, nobody can reach it any more, and it is freed once; the block it
/// names is not freed.
unsafe fn free_kids(kids: *mut u8) {
    memory::gone(kids);
    // SAFETY: the header is valid by the contract and gives back the layout.
    unsafe {
        let capacity = (*kids.cast::<KidsHeader>()).capacity;
        dealloc(kids, kids_layout(capacity));
    }
}

impl<'g> Kids<'g> {
    fn header(&self) -> &'g KidsHeader {
        let _ = self.access;
        memory::seen(self.header.as_ptr());
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

    pub(super) fn stat(&self) -> ChildrenStat {
        let header = self.header();
        ChildrenStat {
            pzxid: header.pzxid.load(Ordering::Relaxed),
            cversion: header.cversion.load(Ordering::Relaxed),
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
    let block = NonNull::new(block).map(|start| Block { start, access });
    (block, kids)
}

fn retire_kids(kids: *mut u8) {
    let kids = SendPtr(kids);
    // SAFETY: the caller unlinked them before; readers that still see them are pinned, and the
    // closure runs after they are gone. It holds nothing borrowed and may run on any thread.
    unsafe {
        epoch::pin().defer_unchecked(move || {
            let kids = kids;
            free_kids(kids.0);
        });
    }
}

fn retire_block(memory: &Arc<HeapMemory>, block: *mut u8) {
    let Some(start) = NonNull::new(block) else { return };
    let (start, memory) = (SendPtr(start.as_ptr()), Arc::clone(memory));
    // SAFETY: as in `retire_kids`; the block says itself how long it is, and `memory` keeps it
    // allocated until then.
    unsafe {
        epoch::pin().defer_unchecked(move || {
            let start = start;
            let block = NonNull::new_unchecked(start.0);
            memory::gone(start.0);
            memory.give_back(start.0, Shape::read(block).block_len());
        });
    }
}

struct SendPtr(*mut u8);
// SAFETY: the pointer is the only way to the memory by then; whichever thread frees it is alone
// with it.
unsafe impl Send for SendPtr {}

/// Writer only: puts a new block in place and retires the old one.
pub(super) fn replace_block(body: &AtomicPtr<u8>, memory: &Arc<HeapMemory>, block: *mut u8) {
    let start = body.load(Ordering::Relaxed);
    let old = if is_kids(start) {
        // SAFETY: only the writer frees or replaces child vectors, and it is here.
        unsafe { (*untag(start).cast::<KidsHeader>()).block.swap(block, Ordering::Release) }
    } else {
        body.swap(block, Ordering::Release)
    };
    retire_block(memory, old);
}

/// Writer only: empties a body and retires what it had.
pub(super) fn clear(body: &AtomicPtr<u8>, memory: &Arc<HeapMemory>) {
    let start = body.swap(ptr::null_mut(), Ordering::Release);
    if is_kids(start) {
        // SAFETY: unlinked just now, freed after the epoch at the earliest.
        let block = unsafe { (*untag(start).cast::<KidsHeader>()).block.load(Ordering::Relaxed) };
        retire_block(memory, block);
        retire_kids(untag(start));
    } else {
        retire_block(memory, start);
    }
}

/// Frees what a body has outside the block heap, at once.
///
/// # Safety
/// Nobody else can reach it: the tree is being dropped.
pub(super) unsafe fn free_now(body: *mut u8) {
    // SAFETY: by contract; each part is freed once.
    unsafe {
        let mut block = body;
        if is_kids(body) {
            block = (*untag(body).cast::<KidsHeader>()).block.load(Ordering::Relaxed);
            free_kids(untag(body));
        }
        if let Some(start) = NonNull::new(block) {
            HeapMemory::free_large(block, Shape::read(start).block_len());
        }
    }
}

/// Writer only: replaces the child vector by one of another capacity (or makes the first one, for a
/// node whose children have the status `fresh`).
fn resize<'g>(
    body: &AtomicPtr<u8>,
    access: Access<'g>,
    fresh: ChildrenStat,
    capacity: u32,
) -> Kids<'g> {
    let (_, old) = load(body, access);
    let start = body.load(Ordering::Relaxed);
    let block = old.map_or(start, |kids| kids.header().block.load(Ordering::Relaxed));
    let new = new_kids(block, old.map_or(fresh, |kids| kids.stat()), capacity);
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
        retire_kids(untag(start));
    }
    kids
}

/// Grows by a half while small and by a quarter when that would waste much.
fn grown(capacity: u32) -> u32 {
    let step = if capacity < 4096 { capacity / 2 } else { capacity / 4 };
    capacity.saturating_add(step).max(KIDS_CAPACITY_MIN)
}

/// Writer only: sets the part of the status that children change. A node that still has the one of
/// its creation, `fresh`, keeps none.
pub(super) fn set_children_stat(
    body: &AtomicPtr<u8>,
    access: Access<'_>,
    fresh: ChildrenStat,
    stat: ChildrenStat,
) {
    let kids = match load(body, access).1 {
        Some(kids) => kids,
        None if stat == fresh => return,
        None => resize(body, access, fresh, 0),
    };
    kids.header().pzxid.store(stat.pzxid, Ordering::Relaxed);
    kids.header().cversion.store(stat.cversion, Ordering::Relaxed);
}

/// Writer only: appends a child and returns its position. `fresh` is the children's status of a node
/// that never had one.
pub(super) fn push_child(
    body: &AtomicPtr<u8>,
    access: Access<'_>,
    fresh: ChildrenStat,
    slot: u32,
) -> u32 {
    let kids = match load(body, access).1 {
        Some(kids) if kids.len() < kids.header().capacity => kids,
        other => resize(body, access, fresh, grown(other.map_or(0, |kids| kids.len()))),
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
        resize(body, access, kids.stat(), kids.header().capacity / 2);
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

    const FRESH: ChildrenStat = ChildrenStat { pzxid: 5, cversion: 0 };

    #[test]
    fn blocks_keep_what_they_are_given() {
        let mut heap = BlockHeap::new();
        let long = [7; 300];
        for owner in [0, 7, i64::MIN] {
            for name in [&b"name"[..], &long] {
                for data in [None, Some(&b""[..]), Some(b"data"), Some(&long), Some(&[1; 5000])] {
                    let start = new_block(&mut heap, name, data, owner, 99);
                    let body = AtomicPtr::new(start);
                    let (block, kids) = load(&body, access());
                    let block = block.unwrap();
                    assert!(kids.is_none());
                    assert_eq!((block.name(), block.data()), (name, data));
                    assert_eq!((block.owner(), block.crc()), (owner, 99));
                    clear(&body, heap.memory());
                }
            }
        }
    }

    #[test]
    fn children_come_and_go() {
        let mut heap = BlockHeap::new();
        let body = AtomicPtr::new(new_block(&mut heap, b"p", None, 0, 0));
        for slot in 0..300 {
            assert_eq!(push_child(&body, access(), FRESH, slot), slot);
        }
        let stat = ChildrenStat { pzxid: 77, cversion: 300 };
        set_children_stat(&body, access(), FRESH, stat);
        let block = new_block(&mut heap, b"p", Some(b"new"), 0, 1);
        replace_block(&body, heap.memory(), block);
        assert_eq!(remove_child(&body, access(), 0), Some(299));
        assert_eq!(remove_child(&body, access(), 298), None);
        for _ in 0..297 {
            remove_child(&body, access(), 0);
        }
        let (block, kids) = load(&body, access());
        assert_eq!(block.unwrap().data(), Some(&b"new"[..]));
        let kids = kids.unwrap();
        assert_eq!(kids.slots().count(), 1);
        assert_eq!(kids.stat(), stat, "kept when the vector moves");
        assert!(kids.header().capacity < 100, "shrinks");
        // SAFETY: local to this test.
        unsafe { free_now(body.into_inner()) };
    }

    #[test]
    fn a_status_of_children_needs_a_vector_only_when_it_changed() {
        let mut heap = BlockHeap::new();
        let body = AtomicPtr::new(new_block(&mut heap, b"p", None, 0, 0));
        set_children_stat(&body, access(), FRESH, FRESH);
        assert!(load(&body, access()).1.is_none());
        let stat = ChildrenStat { pzxid: 9, cversion: 1 };
        set_children_stat(&body, access(), FRESH, stat);
        assert_eq!(push_child(&body, access(), FRESH, 3), 0);
        assert_eq!(load(&body, access()).1.unwrap().stat(), stat);
        set_children_stat(&body, access(), FRESH, FRESH);
        assert_eq!(load(&body, access()).1.unwrap().stat(), FRESH);
        // SAFETY: local to this test.
        unsafe { free_now(body.into_inner()) };
    }
}
