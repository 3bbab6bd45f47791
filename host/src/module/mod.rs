//! Modules on disk: finding, checking, compiling, caching and loading them, until there is a program to instantiate.

mod artifact;
mod cache;
mod compile_process;
mod compiler;
mod current;
mod error;
mod files;
mod load;

pub use cache::Cache;
pub use compile_process::{CompileProcess, Work};
pub use compiler::{CONFINED, CPU_TIME, MEMORY};
pub use current::{CurrentProgram, Unavailable};
pub use files::{FileStamp, Files};
pub use load::{Compiled, load_file};
