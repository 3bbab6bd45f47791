//! The filters of system calls (`seccomp(2)`): the lists, and the compiler that makes BPF programs from them.

mod compiler;
pub mod lists;

pub use compiler::{Step, compile};
