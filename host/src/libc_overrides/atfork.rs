//! `pthread_atfork(3)`, in place of musl's, which allocates a list of handlers from musl's own heap. With the host's
//! own `malloc(3)`, that heap would be created for this list alone: two system calls and three page faults, 10 µs of
//! a cold start.
//!
//! Wasmtime is the only caller: its handler opens `/proc/self/pagemap` again in a child process that runs guests. No
//! child process of the host runs guests: they compile (`module/compile_process.rs`) or execute another program.

use std::ffi::c_int;

/// A function that takes and returns nothing, or null.
type ForkHandler = Option<unsafe extern "C" fn()>;

/// Registers nothing and reports success.
#[unsafe(no_mangle)]
extern "C" fn pthread_atfork(_prepare: ForkHandler, _parent: ForkHandler, _child: ForkHandler) -> c_int {
    0
}
