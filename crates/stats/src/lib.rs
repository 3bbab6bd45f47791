//! What the hosts count of connections, datagrams and requests, where it outlives them.
//!
//! The counters are in files of `$RUNTIME_DIRECTORY/stats`, which all hosts map into memory: counting is an atomic
//! addition, without a system call, and nothing is lost when a host is killed. A file has the name of its handler; the
//! handlers of a host that has several are together in `@shared`. See [`layout`] for what is in a file.
//!
//! # A host may be killed between any two instructions
//! Each process has counters of its own for what has begun and what has ended, how. What it has in flight is the
//! difference, and is stored nowhere. So one addition begins a connection and one ends it, and there is no state in
//! between. A process holds a lock on its place in the file, which the kernel releases when the process is gone: then
//! the same difference is what was in flight when it was killed. The next process that takes the place adds that to
//! the count of killed ones, which is one store of a sum that comes out the same if it is made again.
//!
//! # Other processes may do what they want
//! A host checks type, owner, size and version of a file before it maps it, replaces one that it cannot use, and never
//! makes one smaller: a process that touches memory beyond the end of a file is killed (`SIGBUS`, `mmap(2)`). Space is
//! allocated before it is used, for the same reason. Readers believe nothing that they read.

mod file;
mod histogram;
pub mod layout;
mod mapping;
mod outcome;
mod read;
mod render;
mod table;

pub use file::make_directory;
pub use histogram::{BOUNDS, Histogram};
pub use outcome::Outcome;
pub use read::{HandlerSnapshot, HostSnapshot, OTHERS, read_all};
pub use render::{Format, render};
pub use table::{Ended, HandlerStats, Table, TableError, now};

/// The directory of the counters, in a directory of run-time files (`$RUNTIME_DIRECTORY`).
pub const DIRECTORY: &str = "stats";
