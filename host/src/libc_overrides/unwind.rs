//! Functions of libunwind, in place of those. Nothing walks the stack of the host that is shipped, nor unwinds it: a panic
//! aborts, and there are neither tables to find the stack's frames (`pgo/hot.ld`) nor symbols to name them in a backtrace.
//! Without frames, link-time optimization leaves out all that would read DWARF, decompress it and print it.
//!
//! Signatures are those by which Rust's standard library and Wasmtime call them.

use std::ffi::{c_int, c_void};
use std::ptr::null;

/// `_URC_END_OF_STACK` of <unwind.h>.
const END_OF_STACK: c_int = 5;

/// Visits no frame. The caller is what prints the backtrace of a panic (`RUST_BACKTRACE`).
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_visit: *const c_void, _argument: *mut c_void) -> c_int {
    END_OF_STACK
}

/// Goes on with unwinding, at the end of a landing pad, which nothing has entered.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume(_exception: *mut c_void) -> ! {
    std::process::abort()
}

// The others are called by the personality function of Rust's standard library, which unwinding asks about each frame.

macro_rules! word_of_a_frame {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name(_frame: *mut c_void) -> *const c_void {
            null()
        }
    )*};
}

word_of_a_frame! {
    _Unwind_FindEnclosingFunction _Unwind_GetCFA _Unwind_GetDataRelBase _Unwind_GetIP _Unwind_GetLanguageSpecificData
    _Unwind_GetRegionStart _Unwind_GetTextRelBase
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_GetIPInfo(_frame: *mut c_void, _is_before: *mut c_int) -> *const c_void {
    null()
}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_SetGR(_frame: *mut c_void, _register: c_int, _value: *const c_void) {}

#[unsafe(no_mangle)]
extern "C" fn _Unwind_SetIP(_frame: *mut c_void, _value: *const c_void) {}

/// Wasmtime's, for the tables of a module: those of guests have none (`native_unwind_info`).
#[unsafe(no_mangle)]
extern "C" fn __register_frame(_table: *const u8) {}

#[unsafe(no_mangle)]
extern "C" fn __deregister_frame(_table: *const u8) {}
