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

pub use cache::Cache;
pub use compiler::{CONFINED, CPU_TIME, MEMORY};
pub use files::{FileStamp, Files};
pub use handler::Handler;
pub use keeper::{Keeper, Work};
pub use load::{Compiled, load_file};
pub use places::{Place, Places};
pub use sources::{Counted, TooMany};
