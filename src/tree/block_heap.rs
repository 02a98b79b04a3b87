//! Where znodes' blocks live: pages of equal blocks, in steps of four bytes.
//!
//! A general allocator rounds a block of 143 bytes up to 160, and its short-lived neighbours leave
//! holes between blocks that stay for years. Here a znode's block costs what it holds, and what the
//! rest of the server allocates for a moment finds its place again. The writer alone allocates and
//! takes back; blocks come back from whichever thread ends an epoch, over a list without locks.
//!
//! Memory of deleted znodes is used again, for blocks of any size once a page is empty, and given
//! back to the system when the tree is dropped.

use crate::base::sync::{AtomicPtr, Mutex, Ordering, SMALL, memory};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::{self, NonNull};
use std::sync::{Arc, PoisonError};

/// Blocks are multiples of this, so the lowest bits of their addresses are free for a tag.
const STEP: usize = 4;
/// Longer blocks are the general allocator's: a step matters little there.
const SMALL_MAX: usize = 1024;
/// A free block holds the address of the next.
const BLOCK_MIN: usize = size_of::<*mut u8>();
const CLASSES: usize = SMALL_MAX / STEP + 1;
/// A page of blocks; pages start at multiples of it, so a block's address leads to its page.
const PAGE: usize = 16 << 10;
/// The first region; later ones are a quarter of what there is, up to the largest.
const REGION_MIN: usize = if SMALL { 4 * PAGE } else { 1 << 20 };
const REGION_MAX: usize = 64 << 20;

const _: () = assert!(REGION_MIN.is_multiple_of(PAGE) && REGION_MAX.is_multiple_of(PAGE));
const _: () = assert!(BLOCK_MIN.is_multiple_of(STEP) && SMALL_MAX < PAGE / 8);

fn large_layout(len: usize) -> Layout {
    Layout::from_size_align(len, STEP).expect("blocks are below 16 GiB")
}

fn block_size(len: usize) -> usize {
    len.next_multiple_of(STEP).max(BLOCK_MIN)
}

/// The memory itself and the way back into it. It lives as long as its writer, its tree, or a block
/// that waits for the end of an epoch.
pub(super) struct HeapMemory {
    /// Blocks that nobody sees any more, each naming the next; the writer takes all at once.
    returned: AtomicPtr<u8>,
    regions: Mutex<Vec<(AtomicPtr<u8>, Layout)>>,
}

impl HeapMemory {
    /// Gives a block back, from any thread.
    ///
    /// # Safety
    /// `start` came from [`BlockHeap::allocate`] of this memory with the same `len`, nobody can
    /// reach it any more, and it is given back once.
    pub(super) unsafe fn give_back(&self, start: *mut u8, len: usize) {
        // SAFETY: by contract the block is ours alone until it is on the list; large ones came from
        // the general allocator with this layout. Links are written unaligned: blocks have no
        // alignment to speak of.
        unsafe {
            if len > SMALL_MAX {
                return dealloc(start, large_layout(len));
            }
            let mut next = self.returned.load(Ordering::Relaxed);
            memory::made(start);
            loop {
                start.cast::<*mut u8>().write_unaligned(next);
                // Release: the link is written before the block can be taken.
                let swapped = self.returned.compare_exchange_weak(
                    next,
                    start,
                    Ordering::Release,
                    Ordering::Relaxed,
                );
                match swapped {
                    Ok(_) => return,
                    Err(now) => next = now,
                }
            }
        }
    }

    /// Gives back what is not in a region, when the tree is dropped: the regions go as a whole.
    ///
    /// # Safety
    /// As `give_back`.
    pub(super) unsafe fn free_large(start: *mut u8, len: usize) {
        if len > SMALL_MAX {
            // SAFETY: by contract, from the general allocator with this layout.
            unsafe { dealloc(start, large_layout(len)) };
        }
    }
}

impl Drop for HeapMemory {
    fn drop(&mut self) {
        let regions = self.regions.get_mut().unwrap_or_else(PoisonError::into_inner);
        for (start, layout) in regions {
            // SAFETY: allocated with this layout; whoever could know a block kept the memory alive.
            unsafe { dealloc(*start.get_mut(), *layout) };
        }
    }
}

/// At the start of every page. Only the writer looks at it.
struct Page {
    /// Blocks given back, each naming the next.
    free: *mut u8,
    /// Neighbours in the list of pages with room, or (next only) of empty pages.
    next: *mut Page,
    previous: *mut Page,
    block: u32,
    live: u32,
    /// Offset in the page from which nothing was ever given out.
    fresh: u32,
}

impl Page {
    fn has_room(&self) -> bool {
        !self.free.is_null() || self.fresh as usize + self.block as usize <= PAGE
    }
}

/// The writer's half.
pub(super) struct BlockHeap {
    memory: Arc<HeapMemory>,
    /// By block size in steps: the pages with room.
    with_room: Box<[*mut Page]>,
    empty: *mut Page,
    /// What is left of the newest region.
    rest: *mut u8,
    rest_len: usize,
    bytes: usize,
}

// SAFETY: the pointers lead into `memory`, which is alive as long as this is, and to page headers
// that nobody else touches.
unsafe impl Send for BlockHeap {}

impl BlockHeap {
    pub(super) fn new() -> BlockHeap {
        let memory = HeapMemory { returned: AtomicPtr::default(), regions: Mutex::default() };
        BlockHeap {
            memory: Arc::new(memory),
            with_room: vec![ptr::null_mut(); CLASSES].into(),
            empty: ptr::null_mut(),
            rest: ptr::null_mut(),
            rest_len: 0,
            bytes: 0,
        }
    }

    pub(super) fn memory(&self) -> &Arc<HeapMemory> {
        &self.memory
    }

    /// Uninitialised memory for a block of `len` bytes, at a multiple of four.
    pub(super) fn allocate(&mut self, len: usize) -> NonNull<u8> {
        if len > SMALL_MAX {
            // SAFETY: the length is not 0.
            let start = unsafe { alloc(large_layout(len)) };
            return NonNull::new(start).unwrap_or_else(|| handle_alloc_error(large_layout(len)));
        }
        self.take_returned();
        let block = block_size(len);
        let mut page = self.with_room[block / STEP];
        if page.is_null() {
            page = self.new_page(block);
            self.link(page);
        }
        // SAFETY: pages in the lists are initialised and only the writer, which is here, looks at
        // them. A page with room has a free block or a fresh one inside its bounds.
        unsafe {
            let header = &mut *page;
            header.live += 1;
            let start = header.free;
            let start = if start.is_null() {
                let fresh = page.cast::<u8>().add(header.fresh as usize);
                header.fresh += header.block;
                fresh
            } else {
                header.free = start.cast::<*mut u8>().read_unaligned();
                start
            };
            if !header.has_room() {
                self.unlink(page);
            }
            NonNull::new(start).expect("a block is inside a page")
        }
    }

    /// Puts what came back where the next allocations find it.
    fn take_returned(&mut self) {
        if self.memory.returned.load(Ordering::Relaxed).is_null() {
            return;
        }
        // Acquire pairs with the release in `give_back`.
        let mut start = self.memory.returned.swap(ptr::null_mut(), Ordering::Acquire);
        while !start.is_null() {
            // SAFETY: blocks on the list are nobody's; each starts with the next one's address, and
            // its page is found by its address because pages are aligned to their size.
            unsafe {
                memory::seen(start);
                let next = start.cast::<*mut u8>().read_unaligned();
                memory::gone(start);
                self.put_back(start);
                start = next;
            }
        }
    }

    /// # Safety
    /// A small block of this heap that is nobody's.
    unsafe fn put_back(&mut self, start: *mut u8) {
        let page = start.map_addr(|addr| addr & !(PAGE - 1)).cast::<Page>();
        // SAFETY: by contract; the header is the writer's alone.
        unsafe {
            let header = &mut *page;
            let had_room = header.has_room();
            start.cast::<*mut u8>().write_unaligned(header.free);
            header.free = start;
            header.live -= 1;
            if header.live == 0 {
                if had_room {
                    self.unlink(page);
                }
                (*page).next = self.empty;
                self.empty = page;
            } else if !had_room {
                self.link(page);
            }
        }
    }

    fn new_page(&mut self, block: usize) -> *mut Page {
        let page = if self.empty.is_null() {
            self.cut_page()
        } else {
            let page = self.empty;
            // SAFETY: pages in the list are initialised and the writer's.
            self.empty = unsafe { (*page).next };
            page
        };
        let header = Page {
            free: ptr::null_mut(),
            next: ptr::null_mut(),
            previous: ptr::null_mut(),
            block: block as u32,
            live: 0,
            fresh: size_of::<Page>() as u32,
        };
        // SAFETY: a page of our own, aligned far beyond what the header needs.
        unsafe { page.write(header) };
        page
    }

    fn cut_page(&mut self) -> *mut Page {
        if self.rest_len < PAGE {
            let len = (self.bytes / 4 / PAGE * PAGE).clamp(REGION_MIN, REGION_MAX);
            let layout = Layout::from_size_align(len, PAGE).expect("a fair size");
            // SAFETY: the length is not 0.
            let start = unsafe { alloc(layout) };
            if start.is_null() {
                handle_alloc_error(layout);
            }
            let mut regions = self.memory.regions.lock().unwrap_or_else(PoisonError::into_inner);
            regions.push((AtomicPtr::new(start), layout));
            (self.rest, self.rest_len) = (start, len);
            self.bytes += len;
        }
        let page = self.rest;
        self.rest_len -= PAGE;
        // SAFETY: the region has `rest_len` more bytes.
        self.rest = unsafe { page.add(PAGE) };
        page.cast()
    }

    fn link(&mut self, page: *mut Page) {
        // SAFETY: as in `unlink`.
        unsafe {
            let first = &mut self.with_room[(*page).block as usize / STEP];
            (*page).next = *first;
            (*page).previous = ptr::null_mut();
            if !first.is_null() {
                (**first).previous = page;
            }
            *first = page;
        }
    }

    fn unlink(&mut self, page: *mut Page) {
        // SAFETY: the page and its neighbours are initialised pages of this heap, which only the
        // writer looks at.
        unsafe {
            let (next, previous) = ((*page).next, (*page).previous);
            if !next.is_null() {
                (*next).previous = previous;
            }
            if previous.is_null() {
                self.with_room[(*page).block as usize / STEP] = next;
            } else {
                (*previous).next = next;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::prng::Prng;

    #[test]
    fn blocks_do_not_overlap_and_pages_are_used_again() {
        let mut heap = BlockHeap::new();
        let mut prng = Prng::new(11);
        let mut alive: Vec<(NonNull<u8>, usize, u8)> = Vec::new();
        let rounds = if cfg!(miri) { 400 } else { 40_000 };
        for round in 0..rounds {
            let few = alive.len() < 300;
            if few && prng.chance(3, 5) {
                let len = 1 + prng.below(if round % 3 == 0 { 1100 } else { 60 }) as usize;
                let (start, mark) = (heap.allocate(len), round as u8);
                assert_eq!(start.addr().get() % STEP, 0);
                // SAFETY: just allocated with this length.
                unsafe { start.write_bytes(mark, len) };
                alive.push((start, len, mark));
            } else if !alive.is_empty() {
                let (start, len, mark) = alive.swap_remove(prng.below(alive.len() as u64) as usize);
                // SAFETY: allocated above, initialised, given back once.
                unsafe {
                    let bytes = std::slice::from_raw_parts(start.as_ptr(), len);
                    assert!(bytes.iter().all(|byte| *byte == mark), "round {round}");
                    heap.memory().give_back(start.as_ptr(), len);
                }
            }
        }
        assert!(heap.bytes <= 4 << 20, "{} bytes for 300 blocks", heap.bytes);
        for (start, len, _) in alive {
            // SAFETY: as above.
            unsafe { heap.memory().give_back(start.as_ptr(), len) };
        }
        heap.take_returned();
        assert!(heap.with_room.iter().all(|page| page.is_null()), "every page is empty");
    }

    #[test]
    fn an_empty_page_serves_blocks_of_another_size() {
        let mut heap = BlockHeap::new();
        let cycles = if cfg!(miri) { 3 } else { 200 };
        for cycle in 0..cycles {
            let len = 20 + 4 * cycle;
            let many: Vec<_> = (0..100).map(|_| heap.allocate(len)).collect();
            for start in many {
                // SAFETY: allocated with this length just above, nobody knows it.
                unsafe { heap.memory().give_back(start.as_ptr(), len) };
            }
        }
        assert_eq!(heap.bytes, REGION_MIN, "one region serves all");
    }
}
