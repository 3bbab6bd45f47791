//! The memory allocator of the process.
//!
//! musl's asks the kernel for memory page by page, and gives each page back: fifty system calls in
//! a cold start. dlmalloc asks for 64 KiB at a time. Its own lock is a POSIX mutex, which costs a
//! lone thread as much as the allocation does, and sends one of several to sleep in the kernel
//! for what takes some nanoseconds.

use dlmalloc::Dlmalloc;
use std::alloc::{GlobalAlloc, Layout};
use std::cell::UnsafeCell;
use std::hint;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};
use std::thread;

/// How often a thread looks whether the lock is free before it lets others run: whoever has it may
/// wait for a processor.
const SPINS: u32 = 200;

/// dlmalloc behind a spin lock.
pub struct Allocator {
    locked: AtomicBool,
    heap: UnsafeCell<Dlmalloc>,
}

// SAFETY: `heap` is touched under the lock only.
unsafe impl Sync for Allocator {}

impl Allocator {
    pub const fn new() -> Self {
        Self {
            locked: AtomicBool::new(false),
            heap: UnsafeCell::new(Dlmalloc::new()),
        }
    }

    #[inline]
    fn with<R>(&self, action: impl FnOnce(&mut Dlmalloc) -> R) -> R {
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

// SAFETY: dlmalloc upholds the contract; each call is its own, under the lock.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout is valid.
        self.with(|heap| unsafe { heap.malloc(layout.size(), layout.align()) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller got the block here, with this layout.
        self.with(|heap| unsafe { heap.free(block, layout.size(), layout.align()) });
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's layout is valid.
        self.with(|heap| unsafe { heap.calloc(layout.size(), layout.align()) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller got the block here, with this layout, and `size` is valid with it.
        self.with(|heap| unsafe { heap.realloc(block, layout.size(), layout.align(), size) })
    }
}
