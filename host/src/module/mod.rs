//! A file on disk becomes a program that is ready to be instantiated.

mod artifact;
mod cache;
mod compiler;
mod files;
mod handler;
mod keeper;
mod load;
mod places;
mod sources;

pub use artifact::Distrust;
pub use cache::{Cache, hash_of};
pub use compiler::{CONFINED, CPU_TIME, MEMORY, compiler_path, missing as compiler_missing};
pub use files::{FRESH, FileStamp, Files, Stamp};
pub use handler::{Handler, Unavailable};
pub use keeper::{Keeper, Work};
pub use load::{Compiled, LoadError, load_file, open_trusted};
pub use places::{Place, Places};
pub use sources::{Counted, Sources, TooMany};
