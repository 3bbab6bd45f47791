//! The memory allocator of the process.
//!
//! musl's asks the kernel for memory page by page, and gives each page back: fifty system calls in
//! a cold start. dlmalloc asks for 64 KiB at a time. Its own lock is a POSIX mutex, which costs a
//! lone thread as much as the allocation does, and sends one of several to sleep in the kernel
//! for what takes some nanoseconds.
//!
//! A quarter of what a small guest costs would still be the allocator: an instance takes some seventy
//! blocks, all of which are given back together. So threads that serve keep small blocks of their own
//! at hand ([`keep_blocks`]), in front of the lock.

use dlmalloc::Dlmalloc;
use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mremap, munmap};
use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};
use std::hint;
use std::ops::RangeInclusive;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::thread;

/// How often a thread looks whether the lock is free before it lets others run: whoever has it may
/// wait for a processor.
const SPINS: u32 = 200;

/// The heap, and what threads keep of it.
pub struct Allocator;

/// dlmalloc behind a spin lock.
pub(super) struct Heap {
    locked: AtomicBool,
    heap: UnsafeCell<Dlmalloc<Pages>>,
}

// SAFETY: `heap` is touched under the lock only.
unsafe impl Sync for Heap {}

pub(super) static HEAP: Heap = Heap {
    locked: AtomicBool::new(false),
    heap: UnsafeCell::new(Dlmalloc::new_with_allocator(Pages {
        chunks: AtomicUsize::new(0),
        is_full: AtomicBool::new(false),
    })),
};

impl Heap {
    #[inline]
    pub(super) fn with<R>(&self, action: impl FnOnce(&mut Dlmalloc<Pages>) -> R) -> R {
        while self.locked.swap(true, Acquire) {
            self.wait();
        }
        // SAFETY: whoever set the flag is alone here until it is cleared. `action` is a call of
        // dlmalloc, which neither panics nor allocates.
        let result = action(unsafe { &mut *self.heap.get() });
        self.locked.store(false, Release);
        result
    }

    #[cold]
    fn wait(&self) {
        for _ in 0..SPINS {
            if !self.locked.load(Relaxed) {
                return;
            }
            hint::spin_loop();
        }
        thread::yield_now();
    }
}

/// What dlmalloc asks the kernel for at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// Memory of the kernel. A page takes 2 µs here, most of that for the page itself, and a fifth less when
/// it comes together with others. So all pages of a chunk come at once where nearly all are needed: of
/// the first, and of those after the second, of which the smallest guests use a few only.
pub(super) struct Pages {
    chunks: AtomicUsize,
    /// Nothing is given, so that the heap has what it has.
    is_full: AtomicBool,
}

// SAFETY: what is mapped is nobody else's, and stays so until it is unmapped.
unsafe impl dlmalloc::Allocator for Pages {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        if self.is_full.load(Relaxed) {
            return (ptr::null_mut(), 0, 0);
        }
        let mut flags = MapFlags::PRIVATE;
        if size <= CHUNK && self.chunks.fetch_add(1, Relaxed) != 1 {
            flags |= MapFlags::POPULATE;
        }
        // SAFETY: a new mapping, wherever the kernel puts it.
        match unsafe { mmap_anonymous(ptr::null_mut(), size, READ_WRITE, flags) } {
            Ok(start) => (start.cast(), size, 0),
            Err(_) => (ptr::null_mut(), 0, 0),
        }
    }

    fn remap(&self, start: *mut u8, old: usize, new: usize, can_move: bool) -> *mut u8 {
        let mut flags = MremapFlags::empty();
        flags.set(MremapFlags::MAYMOVE, can_move);
        // SAFETY: dlmalloc got it from `alloc`, and uses it where this says from now on.
        unsafe { mremap(start.cast(), old, new, flags) }.map_or(ptr::null_mut(), <*mut _>::cast)
    }

    fn free_part(&self, start: *mut u8, old: usize, new: usize) -> bool {
        // SAFETY: dlmalloc got it from `alloc`, and does not use the end of it any more.
        unsafe { munmap(start.add(new).cast(), old - new) }.is_ok()
    }

    fn free(&self, start: *mut u8, size: usize) -> bool {
        // SAFETY: dlmalloc got it from `alloc`, and does not use it any more.
        unsafe { munmap(start.cast(), size) }.is_ok()
    }

    fn can_release_part(&self, _flags: u32) -> bool {
        true
    }

    fn allocates_zeros(&self) -> bool {
        true
    }

    fn page_size(&self) -> usize {
        PAGE
    }
}

const PAGE: usize = 4096;

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// The largest blocks that a thread keeps, and the step from one size to the next, in bytes: of small ones,
/// and of those that an instance has a few of.
const SMALL: usize = 1024;
const SMALL_STEP: usize = 16;
const LARGE: usize = 8192;
const LARGE_STEP: usize = 512;

const SMALL_SHELVES: usize = SMALL / SMALL_STEP;
const SHELF_COUNT: usize = SMALL_SHELVES + (LARGE - SMALL) / LARGE_STEP;

/// How many blocks of one size a thread keeps: a megabyte in all, if it has had so many of each.
const MOST_SMALL: u32 = 16;
const MOST_LARGE: u32 = 8;

/// Blocks of one size that are not in use; each begins with the address of the next.
struct Shelf {
    first: Cell<*mut u8>,
    count: Cell<u32>,
}

thread_local! {
    // Neither is dropped, so that they are there as long as the thread is.
    static KEEPS: Cell<bool> = const { Cell::new(false) };
    static SHELVES: [Shelf; SHELF_COUNT] = const {
        [const {
            Shelf {
                first: Cell::new(ptr::null_mut()),
                count: Cell::new(0),
            }
        }; SHELF_COUNT]
    };
}

/// Lets this thread keep small blocks, which nobody else gets before the process ends: for threads that
/// last as long.
pub fn keep_blocks() {
    KEEPS.set(true);
}

/// Gives back what this thread keeps, and to the kernel what the heap has to spare.
pub fn give_back() {
    SHELVES.with(|shelves| {
        for (index, shelf) in shelves.iter().enumerate() {
            let size = block_size(index);
            while let Some(block) = shelf.take() {
                // SAFETY: it came from the heap, with this size, and nobody uses it.
                HEAP.with(|heap| unsafe { heap.free(block, size, SMALL_STEP) });
            }
        }
    });
    HEAP.with(|heap| {
        // SAFETY: nothing that is in use is touched.
        unsafe { heap.trim(0) };
        give_back_blocks(heap);
    });
}

/// The smallest and the largest free blocks whose pages are worth giving back, as powers of two.
const SPARE: RangeInclusive<u32> = 14..=21;

/// Gives back the pages of large free blocks. One small block that is in use keeps the whole mapping that
/// it lies in from being given back, and there is always one.
///
/// Takes all of them out of the heap, one after the other, and returns them without their pages.
fn give_back_blocks(heap: &mut Dlmalloc<Pages>) {
    heap.allocator().is_full.store(true, Relaxed);
    let mut taken: *mut u8 = ptr::null_mut();
    for size in SPARE.rev().map(|power| 1_usize << power) {
        // SAFETY: each block is ours, as large as it was asked for, until it is freed below. It begins
        // with the address of the one before, and whole pages after that are not needed.
        unsafe {
            loop {
                let block = heap.malloc(size, SMALL_STEP);
                if block.is_null() {
                    break;
                }
                block.cast::<*mut u8>().write(taken);
                taken = block;
                let skipped = (block as usize + size_of::<*mut u8>()).next_multiple_of(PAGE) - block as usize;
                let whole = (size - skipped) / PAGE * PAGE;
                // Nothing is lost but memory when it fails.
                let _ = madvise(block.add(skipped).cast(), whole, Advice::LinuxDontNeed);
            }
        }
    }
    while !taken.is_null() {
        // SAFETY: see above; its size is not asked for where it is freed.
        unsafe {
            let before = taken.cast::<*mut u8>().read();
            heap.c_free(taken);
            taken = before;
        }
    }
    heap.allocator().is_full.store(false, Relaxed);
}

/// The size of the blocks of a shelf, all of which are alike to the heap.
#[inline]
fn block_size(shelf: usize) -> usize {
    match shelf < SMALL_SHELVES {
        true => (shelf + 1) * SMALL_STEP,
        false => SMALL + (shelf - SMALL_SHELVES + 1) * LARGE_STEP,
    }
}

/// The size of the blocks that `layout` gets, and their shelf.
#[inline]
fn shelf(layout: Layout) -> Option<(usize, usize)> {
    let size = layout.size();
    if size == 0 || size > LARGE || layout.align() > SMALL_STEP {
        return None;
    }
    let shelf = match size <= SMALL {
        true => (size - 1) / SMALL_STEP,
        false => SMALL_SHELVES + (size - SMALL - 1) / LARGE_STEP,
    };
    Some((block_size(shelf), shelf))
}

impl Shelf {
    #[inline]
    fn take(&self) -> Option<*mut u8> {
        let block = self.first.get();
        if block.is_null() {
            return None;
        }
        // SAFETY: `put` wrote the address of the next one there, and nobody else has the block.
        self.first.set(unsafe { block.cast::<*mut u8>().read() });
        self.count.set(self.count.get() - 1);
        Some(block)
    }

    /// # Safety
    /// `block` is one of this shelf's size, and nobody uses it any more.
    #[inline]
    unsafe fn put(&self, block: *mut u8, most: u32) -> bool {
        if self.count.get() >= most {
            return false;
        }
        // SAFETY: it is ours, and every block has room for an address and is aligned for one.
        unsafe { block.cast::<*mut u8>().write(self.first.get()) };
        self.first.set(block);
        self.count.set(self.count.get() + 1);
        true
    }
}

// SAFETY: dlmalloc upholds the contract; each call is its own, under the lock. A block of a shelf is as
// large as any that belongs there, and nobody's until it is taken.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (mut size, align) = (layout.size(), layout.align());
        if let Some((whole, index)) = shelf(layout) {
            if let Some(block) = SHELVES.with(|shelves| shelves[index].take()) {
                return block;
            }
            size = whole;
        }
        // SAFETY: the caller's layout is valid.
        HEAP.with(|heap| unsafe { heap.malloc(size, align) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let (mut size, align) = (layout.size(), layout.align());
        if let Some((whole, index)) = shelf(layout) {
            let most = match index < SMALL_SHELVES {
                true => MOST_SMALL,
                false => MOST_LARGE,
            };
            // SAFETY: the caller got the block here, with this layout, so it is of this size.
            if KEEPS.get() && SHELVES.with(|shelves| unsafe { shelves[index].put(block, most) }) {
                return;
            }
            size = whole;
        }
        // SAFETY: the caller got the block here, with this layout.
        HEAP.with(|heap| unsafe { heap.free(block, size, align) });
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if shelf(layout).is_some() {
            // SAFETY: the caller's layout is valid; a block has at least its size.
            unsafe {
                let block = self.alloc(layout);
                if !block.is_null() {
                    block.write_bytes(0, layout.size());
                }
                return block;
            }
        }
        // SAFETY: the caller's layout is valid.
        HEAP.with(|heap| unsafe { heap.calloc(layout.size(), layout.align()) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller says that `size` is valid with this alignment.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (shelf(layout), shelf(wanted)) {
            // SAFETY: the caller got the block here, with this layout.
            (None, None) => HEAP.with(|heap| unsafe { heap.realloc(block, layout.size(), layout.align(), size) }),
            (is, wants) if is == wants => block,
            // SAFETY: both blocks have at least the smaller of the two sizes, and are not the same.
            _ => unsafe {
                let new = self.alloc(wanted);
                if !new.is_null() {
                    new.copy_from_nonoverlapping(block, layout.size().min(size));
                    self.dealloc(block, layout);
                }
                new
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_use_stays_and_the_rest_can_be_used_again() {
        let layout = |size| Layout::from_size_align(size, 8).unwrap();
        // SAFETY: each block is used as it was asked for, and freed once.
        unsafe {
            let blocks: Vec<(*mut u8, Layout)> = (1..2000_usize)
                .map(|number| layout(number * 37 % 50_000 + 1))
                .map(|layout| (Allocator.alloc(layout), layout))
                .collect();
            for (number, (block, layout)) in blocks.iter().enumerate() {
                block.write_bytes(number as u8, layout.size());
            }
            let (kept, freed): (Vec<_>, Vec<_>) =
                blocks.into_iter().enumerate().partition(|(number, _)| number % 5 == 0);
            for (_, (block, layout)) in freed {
                Allocator.dealloc(block, layout);
            }
            give_back();
            for (number, (block, layout)) in &kept {
                let content = std::slice::from_raw_parts(*block, layout.size());
                assert!(content.iter().all(|byte| *byte == *number as u8));
            }
            for size in [16, 1000, 8192, 20_000, 3 << 20] {
                let block = Allocator.alloc_zeroed(layout(size));
                let content = std::slice::from_raw_parts(block, size);
                assert!(content.iter().all(|byte| *byte == 0), "{size} bytes");
                Allocator.dealloc(block, layout(size));
            }
            for (_, (block, layout)) in kept {
                Allocator.dealloc(block, layout);
            }
        }
    }
}
