//! The filters of system calls, `seccomp(2)`: which calls a host may make, and the compiler that makes programs of
//! classic BPF from them.
//!
//! - [`lists`]: the calls, and the arguments that some of them are allowed with. Data, to be reviewed like code.
//! - [`Variant`]: which lists a process needs.
//! - [`Architecture`]: the numbers of the calls.
//! - [`compile`]: lists and numbers become a filter, `struct sock_filter[]`.
//! - [`install`]: the kernel gets it.
//!
//! The host's build script compiles every variant, so a filter is a constant in the program and nothing is compiled
//! when a host starts. The host itself uses this crate to choose a variant and to print it (`--print-sandbox`).
//!
//! # Why not the crate `seccompiler`
//!
//! `seccompiler` compares the number with one call after the other. When a filter is installed, the kernel evaluates
//! it once for each number that there is, to remember which ones are always allowed (`seccomp_cache_prepare`). With
//! lists as long as ours that takes 480 µs, as much as all else of a cold start. Filters of this compiler take 66 µs
//! (docs/performance.md): they are a binary search, and an instruction at their front spares that evaluation.
//!
//! # A filter does not confine all
//!
//! A filter sees numbers and the values of arguments, never what a pointer leads to. Which files and which TCP ports
//! the host may use is Landlock's part.

mod architecture;
mod compiler;
mod install;
pub mod lists;
mod variant;

pub use architecture::{Architecture, LACKS};
pub use compiler::compile;
pub use install::install;
pub use variant::Variant;
