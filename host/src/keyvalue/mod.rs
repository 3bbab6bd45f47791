//! Key-value stores of a handler: the embedded one, and those of servers that speak Redis' protocol.
//!
//! Nothing is opened before a guest asks for it. Reading the embedded store happens in the guest's thread, like
//! reading a small file that is in memory; changes wait for the disk in a thread of their own ([`worker`]).

mod bucket;
mod embedded;
mod failure;
mod folder;
mod server;
mod stores;
mod worker;

pub use bucket::Bucket;
pub use failure::Failure;
pub use folder::{add_needs, make_folders};
pub use stores::Stores;
pub use wasm_sock_store::Observed;
pub use worker::finish;
