//! The global allocator: dlmalloc behind a spin lock, with thread-local free lists for small blocks.
//!
//! musl's allocator requests memory from the kernel page by page and returns each page: fifty system calls in a cold
//! start. dlmalloc requests 64 KiB at a time. The lock of the crate `dlmalloc` is a POSIX mutex: in a process with
//! one thread it takes as long as the allocation, and with several it makes threads sleep in the kernel for an
//! operation of nanoseconds. So a spin lock is used instead.
//!
//! Even so the allocator would take a quarter of the CPU time of a small guest: an instance allocates some seventy
//! blocks, which are all freed together. So the threads that serve have free lists of their own ([`keep_blocks`]),
//! which need no lock.

use dlmalloc::Dlmalloc;
use rustix::mm::{Advice, MapFlags, MremapFlags, ProtFlags, madvise, mmap_anonymous, mremap, munmap};
use std::alloc::{GlobalAlloc, Layout};
use std::cell::{Cell, UnsafeCell};
use std::hint;
use std::ops::RangeInclusive;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::thread;

/// How often a thread tries the lock before it yields the processor: the thread that holds the lock may have been
/// preempted.
const SPINS: u32 = 200;

/// The heap behind free lists per thread.
pub struct Allocator;

/// dlmalloc behind a spin lock.
pub(super) struct Heap {
    locked: AtomicBool,
    heap: UnsafeCell<Dlmalloc<Pages>>,
}

// SAFETY: `heap` is accessed only with the lock held.
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
        // SAFETY: only the thread that set the flag is here until it clears it. `action` calls dlmalloc, which
        // allocates nothing through this heap; a panic (of a check for damaged blocks) aborts the process.
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

/// How much memory dlmalloc requests from the kernel at a time, in bytes.
const CHUNK: usize = 64 << 10;

/// dlmalloc's source of memory: anonymous mappings. A page fault takes 2 µs, and a fifth less for each page that is
/// mapped together with others (`MAP_POPULATE`). So all pages of a chunk are mapped at once where nearly all are
/// needed: those of the first chunk, and of the third and later ones. Of the second chunk, the smallest guests use
/// only a few pages.
pub(super) struct Pages {
    chunks: AtomicUsize,
    /// Refuses memory, so that the heap has to use its free blocks.
    is_full: AtomicBool,
}

// SAFETY: each mapping is new and private, and dlmalloc's alone until it is unmapped.
unsafe impl dlmalloc::Allocator for Pages {
    fn alloc(&self, size: usize) -> (*mut u8, usize, u32) {
        if self.is_full.load(Relaxed) {
            return (ptr::null_mut(), 0, 0);
        }
        let mut flags = MapFlags::PRIVATE;
        if size <= CHUNK && self.chunks.fetch_add(1, Relaxed) != 1 {
            flags |= MapFlags::POPULATE;
        }
        // SAFETY: a new mapping, at an address that the kernel chooses.
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
        page()
    }
}

/// The size of a page in bytes: what munmap(2), mremap(2) and madvise(2) take multiples of. Always 4 KiB on x86-64; on
/// ARM 4, 16 or 64 KiB, as the kernel was built.
#[inline]
fn page() -> usize {
    if cfg!(target_arch = "x86_64") {
        return 4096;
    }
    // SAFETY: it reads a variable, which is set before the first allocation: the C library reads the auxiliary vector
    // first of all (`getauxval(3)`).
    let size = unsafe { libc::getauxval(libc::AT_PAGESZ) };
    size as usize
}

const READ_WRITE: ProtFlags = ProtFlags::READ.union(ProtFlags::WRITE);

/// The largest blocks that a thread keeps, and the step from one size class to the next, in bytes: for small blocks,
/// and for the larger ones, of which an instance has a few.
const SMALL: usize = 1024;
const SMALL_STEP: usize = 16;
const LARGE: usize = 8192;
const LARGE_STEP: usize = 512;

const SMALL_CLASSES: usize = SMALL / SMALL_STEP;
const CLASSES: usize = SMALL_CLASSES + (LARGE - SMALL) / LARGE_STEP;

/// How many blocks of one size class a thread keeps: a megabyte in all, if it had that many of each.
const MOST_SMALL: u32 = 16;
const MOST_LARGE: u32 = 8;

/// Free blocks of one size class; each begins with the address of the next.
struct FreeList {
    first: Cell<*mut u8>,
    count: Cell<u32>,
}

thread_local! {
    // Neither has a destructor, so both can be used as long as the thread runs.
    static KEEPS: Cell<bool> = const { Cell::new(false) };
    static FREE_LISTS: [FreeList; CLASSES] = const {
        [const {
            FreeList {
                first: Cell::new(ptr::null_mut()),
                count: Cell::new(0),
            }
        }; CLASSES]
    };
}

/// Enables the free lists of this thread: it keeps small blocks that it frees. No other thread gets them before
/// [`give_back`], so this is for threads that last as long as the process.
pub fn keep_blocks() {
    KEEPS.set(true);
}

/// Returns the blocks that this thread keeps to the heap, and free memory of the heap to the kernel.
pub fn give_back() {
    FREE_LISTS.with(|lists| {
        for (class, list) in lists.iter().enumerate() {
            let size = block_size(class);
            while let Some(block) = list.take() {
                // SAFETY: it came from the heap, with this size, and is not in use.
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

/// The smallest and the largest free blocks whose pages are returned, as powers of two.
const SPARE: RangeInclusive<u32> = 14..=21;

/// Returns the pages of large free blocks to the kernel. `trim` is not enough: it unmaps whole mappings only, and in
/// each of them a small block is in use.
///
/// Allocates all large free blocks, one after the other, drops their pages, and frees them again.
fn give_back_blocks(heap: &mut Dlmalloc<Pages>) {
    heap.allocator().is_full.store(true, Relaxed);
    let page = page();
    let mut taken: *mut u8 = ptr::null_mut();
    for size in SPARE.rev().map(|power| 1_usize << power) {
        // SAFETY: each block is allocated here with this size, and not freed before the loop below. It begins with
        // the address of the former one; the whole pages after that hold nothing.
        unsafe {
            loop {
                let block = heap.malloc(size, SMALL_STEP);
                if block.is_null() {
                    break;
                }
                block.cast::<*mut u8>().write(taken);
                taken = block;
                let skipped = (block as usize + size_of::<*mut u8>()).next_multiple_of(page) - block as usize;
                // Pages may be larger than the block.
                let whole = size.saturating_sub(skipped) / page * page;
                if whole != 0 {
                    // If it fails, the pages stay mapped.
                    let _ = madvise(block.add(skipped).cast(), whole, Advice::LinuxDontNeed);
                }
            }
        }
    }
    while !taken.is_null() {
        // SAFETY: see above; `c_free` needs no size.
        unsafe {
            let before = taken.cast::<*mut u8>().read();
            heap.c_free(taken);
            taken = before;
        }
    }
    heap.allocator().is_full.store(false, Relaxed);
}

/// The size of all blocks of a size class, in bytes.
#[inline]
fn block_size(class: usize) -> usize {
    match class < SMALL_CLASSES {
        true => (class + 1) * SMALL_STEP,
        false => SMALL + (class - SMALL_CLASSES + 1) * LARGE_STEP,
    }
}

/// The size in bytes and the size class of the block for `layout`; `None` if it is too large for a free list.
#[inline]
fn size_class(layout: Layout) -> Option<(usize, usize)> {
    let size = layout.size();
    if size == 0 || size > LARGE || layout.align() > SMALL_STEP {
        return None;
    }
    let class = match size <= SMALL {
        true => (size - 1) / SMALL_STEP,
        false => SMALL_CLASSES + (size - SMALL - 1) / LARGE_STEP,
    };
    Some((block_size(class), class))
}

impl FreeList {
    #[inline]
    fn take(&self) -> Option<*mut u8> {
        let block = self.first.get();
        if block.is_null() {
            return None;
        }
        // SAFETY: `put` wrote the address of the next block there, and the block was not used since.
        self.first.set(unsafe { block.cast::<*mut u8>().read() });
        self.count.set(self.count.get() - 1);
        Some(block)
    }

    /// Keeps `block`, unless the list has `most` blocks already.
    ///
    /// # Safety
    /// `block` has the size of this list's class, and is not in use any more.
    #[inline]
    unsafe fn put(&self, block: *mut u8, most: u32) -> bool {
        if self.count.get() >= most {
            return false;
        }
        // SAFETY: it is this list's alone; every block has room for an address and is aligned for one.
        unsafe { block.cast::<*mut u8>().write(self.first.get()) };
        self.first.set(block);
        self.count.set(self.count.get() + 1);
        true
    }
}

// SAFETY: dlmalloc upholds the contract, under the lock. All blocks of a free list have the size of its class, which
// is at least that of each layout of the class; none of them is in use.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (mut size, align) = (layout.size(), layout.align());
        if let Some((whole, class)) = size_class(layout) {
            if let Some(block) = FREE_LISTS.with(|lists| lists[class].take()) {
                return block;
            }
            size = whole;
        }
        // SAFETY: the caller's layout is valid.
        HEAP.with(|heap| unsafe { heap.malloc(size, align) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let (mut size, align) = (layout.size(), layout.align());
        if let Some((whole, class)) = size_class(layout) {
            let most = match class < SMALL_CLASSES {
                true => MOST_SMALL,
                false => MOST_LARGE,
            };
            // SAFETY: the caller got the block here, with this layout, so it is of this size.
            if KEEPS.get() && FREE_LISTS.with(|lists| unsafe { lists[class].put(block, most) }) {
                return;
            }
            size = whole;
        }
        // SAFETY: the caller got the block here, with this layout.
        HEAP.with(|heap| unsafe { heap.free(block, size, align) });
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if size_class(layout).is_some() {
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
        match (size_class(layout), size_class(wanted)) {
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
mod tests;
