//! Functions of libunwind, in place of those. Nothing walks the stack of the host that is shipped, nor unwinds it: a panic
//! aborts, and there are neither tables to find the stack's frames (`pgo/hot.ld`) nor symbols to name them in a backtrace.
//! Without frames, link-time optimization leaves out all that would read DWARF, decompress it and print it.

use std::ffi::{c_int, c_void};

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

/// Functions that take a frame first, and do nothing.
macro_rules! of_a_frame {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name(_: *mut c_void, _: usize, _: usize) -> usize {
            0
        }
    )*};
}

// Those of std's personality function, which unwinding asks what to do with a frame.
of_a_frame! {
    _Unwind_FindEnclosingFunction _Unwind_GetCFA _Unwind_GetDataRelBase _Unwind_GetIP _Unwind_GetIPInfo
    _Unwind_GetLanguageSpecificData _Unwind_GetRegionStart _Unwind_GetTextRelBase _Unwind_SetGR _Unwind_SetIP
}
// Wasmtime's, for the tables of a module: those of guests have none (`native_unwind_info`).
of_a_frame! { __register_frame __deregister_frame }
