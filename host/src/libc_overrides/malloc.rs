//! `malloc(3)` and its like, in place of musl's. std has its handle of the first thread from there (`System`),
//! and a second heap for that alone takes four system calls and three pages: 10 µs of a cold start.

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
    // SAFETY: the caller got the block here.
    or_no_memory(HEAP.with(|heap| unsafe { heap.c_realloc(block.cast(), size) }))
}

/// # Safety
/// As of `free(3)`.
#[unsafe(no_mangle)]
unsafe extern "C" fn free(block: *mut c_void) {
    // SAFETY: the caller got the block here, unless it is null, which is looked for.
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

    #[test]
    fn blocks_are_aligned_hold_what_was_written_and_grow() {
        // SAFETY: each block is used as it was asked for, and freed once.
        unsafe {
            let small = malloc(3).cast::<u8>();
            assert!(!small.is_null() && (small as usize).is_multiple_of(16));
            small.copy_from(b"abc".as_ptr(), 3);
            let large = realloc(small.cast(), 100_000).cast::<u8>();
            assert_eq!(std::slice::from_raw_parts(large, 3), b"abc");
            free(large.cast());
            let zeros = calloc(1000, 7).cast::<u8>();
            assert!(std::slice::from_raw_parts(zeros, 7000).iter().all(|byte| *byte == 0));
            free(zeros.cast());
            free(ptr::null_mut());
            let mut aligned = ptr::null_mut();
            assert_eq!(posix_memalign(&mut aligned, 4096, 10), 0);
            assert!((aligned as usize).is_multiple_of(4096));
            free(aligned);
        }
    }

    #[test]
    fn what_cannot_be_had_is_an_error() {
        let mut block = ptr::null_mut();
        assert!(malloc(usize::MAX - 10_000).is_null());
        assert!(calloc(usize::MAX, 2).is_null());
        assert!(aligned_alloc(3, 10).is_null());
        // SAFETY: it points to an address.
        assert_eq!(unsafe { posix_memalign(&mut block, 3, 10) }, libc::EINVAL);
    }
}
