//! A file on disk becomes a program that is ready to be instantiated.

mod artifact;
mod cache;
mod compiler;
mod current;
mod files;
mod keeper;
mod load;

pub use cache::Cache;
pub use compiler::{CONFINED, CPU_TIME, MEMORY, compiler_path, missing as compiler_missing};
pub use current::{CurrentProgram, Unavailable};
pub use files::{FileStamp, Files};
pub use keeper::{Keeper, Work};
pub use load::{Compiled, load_file};
