//! `malloc(3)` and its relatives, in place of musl's, all from the heap of the global allocator. std allocates the
//! handle of the first thread with `malloc(3)` (`System`), and a second heap for that alone takes two system calls
//! and page faults: 10 µs of a cold start.
//!
//! This is the whole set that musl answers from its own heap, and the two functions that programs expect beside it
//! (`memalign`, `posix_memalign`). What musl builds on these (`valloc`, `reallocarray`, `strdup`, `getline`, …) comes
//! from here through them. musl's own internals (`posix_spawn_file_actions_*`, `atexit`, time zones, locales) allocate
//! and free with private names, from its own heap, and never pass such a block on.
//!
//! Unlike musl's, this heap is not fork-safe: call `fork(2)` while there is only one thread, or allocate nothing in
//! the child.

use super::heap::HEAP;
use std::ffi::{c_int, c_void};
use std::ptr;

#[unsafe(no_mangle)]
extern "C" fn malloc(size: usize) -> *mut c_void {
    // SAFETY: any size may be asked for.
    or_no_memory(HEAP.with(|heap| unsafe { heap.c_malloc(size) }))
}

#[unsafe(no_mangle)]
extern "C" fn calloc(count: usize, size: usize) -> *mut c_void {
    let Some(size) = count.checked_mul(size) else {
        return or_no_memory(ptr::null_mut());
    };
    // SAFETY: any size may be asked for.
    or_no_memory(HEAP.with(|heap| unsafe { heap.calloc(size, 1) }))
}

/// # Safety
/// As of `realloc(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn realloc(block: *mut c_void, size: usize) -> *mut c_void {
    if block.is_null() {
        return malloc(size);
    }
    // SAFETY: the caller got the block from one of these functions.
    or_no_memory(HEAP.with(|heap| unsafe { heap.c_realloc(block.cast(), size) }))
}

/// # Safety
/// As of `free(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: the caller got the block from one of these functions; or it is null, which is allowed.
    HEAP.with(|heap| unsafe { heap.c_free(block.cast()) });
}

#[unsafe(no_mangle)]
extern "C" fn aligned_alloc(align: usize, size: usize) -> *mut c_void {
    if !align.is_power_of_two() {
        return or_error(ptr::null_mut(), libc::EINVAL);
    }
    // SAFETY: any size may be asked for, with an alignment that is one.
    or_no_memory(HEAP.with(|heap| unsafe { heap.c_memalign(align, size) }))
}

#[unsafe(no_mangle)]
extern "C" fn memalign(align: usize, size: usize) -> *mut c_void {
    aligned_alloc(align, size)
}

/// # Safety
/// As of `posix_memalign(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn posix_memalign(block: *mut *mut c_void, align: usize, size: usize) -> c_int {
    if !align.is_power_of_two() || align < size_of::<usize>() {
        return libc::EINVAL;
    }
    let new = aligned_alloc(align, size);
    if new.is_null() {
        return libc::ENOMEM;
    }
    // SAFETY: the caller says that it points to an address.
    unsafe { block.write(new) };
    0
}

/// # Safety
/// As of `malloc_usable_size(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn malloc_usable_size(block: *mut c_void) -> usize {
    if block.is_null() {
        return 0;
    }
    // SAFETY: the caller got the block from one of these functions, so dlmalloc's header is before it. It is read under
    // the lock, because a neighbouring block that is freed changes a flag in it.
    HEAP.with(|_| unsafe { usable_size(block.cast()) })
}

/// The flags in the header of a block of dlmalloc, which are no part of its size.
const FLAGS: usize = 0b111;

/// Those that say whether the block and the one before are in use; neither, if it is a mapping of its own.
const IN_USE: usize = 0b11;

/// The bytes that a block has room for. The crate has no function for it, so this reads the header as dlmalloc's
/// `chunksize` does: one word with the size of the block, header included, and flags.
///
/// # Safety
/// `block` is in use, and from `HEAP`.
unsafe fn usable_size(block: *const u8) -> usize {
    // SAFETY: the header is the word before the block.
    let header = unsafe { block.cast::<usize>().sub(1).read() };
    let words = match header & IN_USE {
        0 => 2,
        _ => 1,
    };
    (header & !FLAGS) - words * size_of::<usize>()
}

fn or_no_memory(block: *mut u8) -> *mut c_void {
    or_error(block, libc::ENOMEM)
}

/// A block, or none and the reason in `errno`.
fn or_error(block: *mut u8, error: c_int) -> *mut c_void {
    if block.is_null() {
        // SAFETY: it is this thread's own.
        unsafe { *libc::__errno_location() = error };
    }
    block.cast()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What dlmalloc adds to a size at most, in bytes: its own header, and what is too small to be a block.
    const SLACK: usize = 64;

    /// Checks that a block is one of ours by its header, uses all that it has room for, and frees it.
    ///
    /// # Safety
    /// `block` has room for `size` bytes, and is not used any more.
    unsafe fn check(name: &str, block: *mut c_void, size: usize, align: usize) {
        assert!(!block.is_null(), "{name} of {size} bytes");
        assert!((block as usize).is_multiple_of(align), "{name} of {size} bytes");
        // SAFETY: see above.
        unsafe {
            let usable = libc::malloc_usable_size(block);
            assert!(
                (size..=size + SLACK).contains(&usable),
                "{name} of {size} bytes: {usable}"
            );
            block.cast::<u8>().write_bytes(0xa5, usable);
            libc::free(block);
        }
    }

    #[test]
    fn every_function_that_allocates_does_so_in_this_heap() {
        // SAFETY: each block is used as it was asked for, and freed once; the strings end with zero.
        unsafe {
            for size in (1..300).chain([1000, 4096, 10_000, 65_536, 1 << 20]) {
                check("malloc", libc::malloc(size), size, 16);
                check("calloc", libc::calloc(size, 3), size * 3, 16);
                check("realloc", libc::realloc(libc::malloc(5), size), size, 16);
                check("realloc", libc::realloc(libc::malloc(size * 2), size), size, 16);
                check("realloc of null", libc::realloc(ptr::null_mut(), size), size, 16);
                check(
                    "reallocarray",
                    libc::reallocarray(ptr::null_mut(), size, 2),
                    size * 2,
                    16,
                );
                for align in [8, 16, 64, 4096] {
                    check("aligned_alloc", libc::aligned_alloc(align, size), size, align);
                    check("memalign", libc::memalign(align, size), size, align);
                    let mut block = ptr::null_mut();
                    assert_eq!(libc::posix_memalign(&mut block, align, size), 0);
                    check("posix_memalign", block, size, align);
                }
            }
            check("strdup", libc::strdup(c"a string".as_ptr()).cast(), 9, 16);
            check("strndup", libc::strndup(c"a string".as_ptr(), 4).cast(), 5, 16);
            let path = libc::realpath(c"/".as_ptr(), ptr::null_mut());
            check("realpath", path.cast(), 2, 16);
        }
    }

    #[test]
    fn blocks_hold_what_was_written_when_they_grow_and_zeros_at_first() {
        // SAFETY: each block is used as it was asked for, and freed once.
        unsafe {
            let small = malloc(3).cast::<u8>();
            small.copy_from(b"abc".as_ptr(), 3);
            let large = realloc(small.cast(), 100_000).cast::<u8>();
            assert_eq!(std::slice::from_raw_parts(large, 3), b"abc");
            large.write_bytes(1, 100_000);
            free(large.cast());
            let zeros = calloc(1000, 100).cast::<u8>();
            assert!(std::slice::from_raw_parts(zeros, 100_000).iter().all(|byte| *byte == 0));
            free(zeros.cast());
            free(ptr::null_mut());
            assert_eq!(malloc_usable_size(ptr::null_mut()), 0);
        }
    }

    #[test]
    fn what_cannot_be_had_is_an_error() {
        let errno = || std::io::Error::last_os_error().raw_os_error();
        let mut block = ptr::null_mut();
        assert!(malloc(usize::MAX - 10_000).is_null());
        assert_eq!(errno(), Some(libc::ENOMEM));
        assert!(calloc(usize::MAX, 2).is_null());
        assert!(aligned_alloc(1 << 62, 1 << 62).is_null());
        assert!(aligned_alloc(3, 10).is_null());
        assert_eq!(errno(), Some(libc::EINVAL));
        assert!(memalign(0, 10).is_null());
        // SAFETY: it points to an address.
        unsafe {
            assert_eq!(posix_memalign(&mut block, 3, 10), libc::EINVAL);
            assert_eq!(posix_memalign(&mut block, 16, usize::MAX), libc::ENOMEM);
        }
    }
}
