//! Replacements for parts of musl, the C library that is linked statically: the global allocator, and all symbols of
//! the C library and of libunwind that the host overrides. No other file of the host overrides symbols.
//!
//! | symbols | file | feature | why | what it saves (docs/performance.md) |
//! |---|---|---|---|---|
//! | `memcpy`, `memmove`, `memcmp`, `bcmp` | `copy.rs` | `own-copy` | musl copies with `rep movsq` at every size, and compares byte by byte | 20 to 30 µs of a cold start, HTTP 65 to 100 µs; a tenth of the CPU time of a small guest |
//! | none: `#[global_allocator]` | `heap.rs` | `own-heap` | musl's allocator makes many system calls, and has one lock for all threads | with `malloc`: 120 µs of a cold start, HTTP 450 µs; 40 % of the CPU time of a warm HTTP request |
//! | `malloc`, `calloc`, `realloc`, `free`, `aligned_alloc`, `memalign`, `posix_memalign`, `malloc_usable_size` | `malloc.rs` | `own-malloc` | std and C code allocate a few blocks with `malloc(3)`; a second heap for them takes system calls and pages | 10 µs of a cold start |
//! | `pthread_atfork` | `atfork.rs` | `own-atfork` | musl's allocates from a heap that musl makes for it | 10 µs of a cold start |
//! | `_Unwind_*`, `__register_frame`, `__deregister_frame` | `unwind.rs` | none: in the release for x86-64 | nothing walks the stack of that | 0.25 MB on disk |
//!
//! Each but the last is a cargo feature of this package, enabled by default. To find a bug, or to measure what a feature
//! saves, build the host without it: all but `own-copy` is
//! `cargo build --release -p wasm-sock --no-default-features --features own-heap,own-malloc,own-atfork`. Without
//! `own-heap` musl's allocator is the global one; `own-malloc` needs `own-heap`. Compare such a build with one that
//! also has no PGO profile (see the Makefile): with other features the compiler gives functions other symbol names,
//! which are not in the profile.
//!
//! Symbols are overridden for musl only, where the linker takes the first definition and leaves musl's out. With
//! glibc or a sanitizer they would conflict with other definitions. The copy functions are written for x86-64.

#[cfg(all(feature = "own-atfork", target_env = "musl"))]
mod atfork;
#[cfg(all(feature = "own-copy", target_arch = "x86_64", target_env = "musl"))]
mod copy;
#[cfg(feature = "own-heap")]
pub mod heap;
#[cfg(all(feature = "own-malloc", target_env = "musl"))]
mod malloc;
#[cfg(all(without_backtraces, panic = "abort", target_env = "musl"))]
mod unwind;

/// The global allocator without `own-heap`: musl's.
#[cfg(not(feature = "own-heap"))]
pub mod heap {
    pub use std::alloc::System as Allocator;

    /// Does nothing: musl's allocator has no free lists per thread.
    pub const fn keep_blocks() {}

    /// Does nothing: musl's allocator returns free pages to the kernel by itself.
    pub const fn give_back() {}
}
