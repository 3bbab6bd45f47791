//! The embedded key-value store of a handler: one SQLite file with all of its stores.
//!
//! # Why SQLite
//! The file outlives hosts that are killed, disks that are full and machines that lose power, and several hosts have
//! it open at the same time. Whatever is in the file, reading it yields an error at worst: a store that maps its file
//! into memory, or panics about its content, would bring down every guest of the process.
//!
//! # How it is used
//! With a write-ahead log (WAL): readers never wait for writers, and a durable change costs one `fdatasync(2)`. Changes
//! of several guests are committed together ([`Database::commit`]). The log is emptied when there is time
//! ([`Database::tidy`]); what a killed host left in it, the next one finds.
//!
//! The file itself is not mapped into memory. The index of the log (`-shm`) is, and is written anew by the first
//! process that opens the file, never believed; its blocks are allocated before they are mapped, so that a full disk
//! is an error and no `SIGBUS`.
//!
//! # What is in it
//! Table `entries`: store, key, value, and when it expires (milliseconds since 1970; NULL: never). An expired entry is
//! not seen by anyone, and is removed by a later change. The sum of all is limited by a quota, in pages of the file.

mod change;
mod entry;
mod error;
mod folder;
mod open;
mod read;

pub use change::{Change, Changed, What};
pub use entry::{Entry, Number, Observed};
pub use error::StoreError;
pub use folder::{file_of, make_folder};
pub use open::{Database, Patience};
pub use read::Keys;

/// The longest key, in bytes of UTF-8.
pub const MOST_KEY: usize = 4 << 10;
/// The largest value, in bytes.
pub const MOST_VALUE: usize = 16 << 20;
/// The least quota, in bytes: an empty file has three pages.
pub const LEAST_QUOTA: u64 = 64 << 10;

/// Bytes of a page of the file.
const PAGE: u64 = 4096;
