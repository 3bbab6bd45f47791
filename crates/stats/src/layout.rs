//! What is in a file of counters, and where.
//!
//! ```text
//! Header | HandlerBlock × handlers | (ProcessBlock | Cell × handlers) × processes
//! ```
//!
//! Numbers are in the machine's byte order: the file never leaves it. Each block begins at a cache line of its own, so
//! that two handlers, or two processes, do not slow each other down. The number of handlers is fixed; a file grows by
//! more processes at its end.

use crate::histogram::BUCKETS;
use crate::outcome::Outcome;
use std::mem::size_of;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

/// `wasmsock`, and the version of the layout: a file with another one is replaced.
pub const MAGIC: u64 = u64::from_be_bytes(*b"wasmsk\0\x01");

/// The longest name of a handler, in bytes (`FileDescriptorName=`, `systemd.socket(5)`).
pub const MAX_NAME: usize = 255;

/// The largest file, in bytes.
pub const MAX_SIZE: u64 = 64 << 20;

/// The most processes of a file that are alive at a time.
const MAX_PROCESSES: u64 = 4096;

/// Files are as large as whole pages.
const PAGE: u64 = 4096;

#[repr(C, align(64))]
pub struct Header {
    pub magic: AtomicU64,
    /// The number of [`HandlerBlock`]s.
    pub handlers: AtomicU64,
    /// When the file was made: microseconds since 1970.
    pub created: AtomicU64,
}

/// The counters of a handler that all its processes share. A process that is killed may have added to some of them only.
#[repr(C, align(64))]
pub struct HandlerBlock {
    /// A hash of the name; 0: the block is free. Set first, and only once.
    pub key: AtomicU64,
    /// The length of the name; 0: the name is not complete.
    pub length: AtomicU32,
    _padding: AtomicU32,
    pub name: [AtomicU8; 256],
    pub counters: HandlerCounters,
}

#[repr(C, align(64))]
pub struct HandlerCounters {
    /// Starts of a host for a client of this handler.
    pub activations: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    /// CPU time of guests, in nanoseconds.
    pub cpu: AtomicU64,
    /// The most memory that a guest has had, in bytes.
    pub memory_peak: AtomicU64,
    /// Log lines of guests that were dropped (`max-log`).
    pub lines_dropped: AtomicU64,
    /// When a client came last: microseconds since 1970.
    pub last_client: AtomicU64,
    /// HTTP answers: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub classes: [AtomicU64; 5],
    /// From the acceptance to the end.
    pub duration: HistogramCounters,
    /// From the acceptance to the first byte of the answer.
    pub first_byte: HistogramCounters,
}

#[repr(C)]
pub struct HistogramCounters {
    pub buckets: [AtomicU64; BUCKETS],
    /// Nanoseconds.
    pub sum: AtomicU64,
}

/// Where in a place its second lock is.
pub const LIFE: usize = 1;

/// A place for a process. The process that has it holds a lock on the first byte; and one on the byte at [`LIFE`], since
/// it has counted what the last process of the place had in flight. The kernel releases both at once. Readers look at
/// the second only: with the first they would take for alive what is dead and not counted yet.
#[repr(C, align(64))]
pub struct ProcessBlock {
    /// The first and the last that a new process changes: odd in between.
    pub generation: AtomicU64,
    /// When the process began: microseconds since 1970.
    pub since: AtomicU64,
    /// Twice the number of reloads, and 1 if the last one failed: one number, so that it changes at once.
    pub reloads: AtomicU64,
    /// The process; 0: none, and the one before has ended in order.
    pub pid: AtomicU32,
}

/// What a process counts for a handler. The next one that has its place goes on counting.
#[repr(C, align(64))]
pub struct Cell {
    pub started: AtomicU64,
    /// By outcome.
    pub ended: [AtomicU64; Outcome::ALL.len()],
    /// In flight when a process was killed that had this place.
    pub killed: AtomicU64,
}

const _: () = assert!(size_of::<Header>() == 64);
const _: () = assert!(size_of::<HandlerBlock>() == 640);
const _: () = assert!(size_of::<ProcessBlock>() == 64);
const _: () = assert!(size_of::<Cell>() == 128);

/// Where the blocks of a file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    pub handlers: usize,
    pub processes: usize,
}

impl Geometry {
    /// The geometry of a file of `size` bytes for so many handlers, as its header says. `None`: that cannot be, or it
    /// has no room for a process.
    pub fn of(handlers: u64, size: u64) -> Option<Self> {
        if handlers == 0 || size > MAX_SIZE || handlers > MAX_SIZE / size_of::<HandlerBlock>() as u64 {
            return None;
        }
        let left = size.checked_sub(first_process(handlers))?;
        let processes = (left / stride(handlers)).min(MAX_PROCESSES);
        (processes > 0).then_some(Self {
            handlers: handlers as usize,
            processes: processes as usize,
        })
    }

    /// The size of a file with room for so many handlers, and for at least so many processes.
    pub fn size(handlers: u64, processes: u64) -> u64 {
        (first_process(handlers) + processes * stride(handlers)).next_multiple_of(PAGE)
    }

    pub const fn handler(&self, handler: usize) -> usize {
        size_of::<Header>() + handler * size_of::<HandlerBlock>()
    }

    pub const fn process(&self, process: usize) -> usize {
        let handlers = self.handlers as u64;
        (first_process(handlers) + process as u64 * stride(handlers)) as usize
    }

    pub const fn cell(&self, process: usize, handler: usize) -> usize {
        self.process(process) + size_of::<ProcessBlock>() + handler * size_of::<Cell>()
    }
}

const fn first_process(handlers: u64) -> u64 {
    size_of::<Header>() as u64 + handlers * size_of::<HandlerBlock>() as u64
}

const fn stride(handlers: u64) -> u64 {
    size_of::<ProcessBlock>() as u64 + handlers * size_of::<Cell>() as u64
}

/// The hash of a handler's name (FNV-1a), never 0.
pub fn key(name: &[u8]) -> u64 {
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.max(1)
}

/// Can it be the name of a handler? Printable ASCII (`systemd.socket(5)`), not empty.
pub fn is_name(name: &[u8]) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.iter().all(|byte| (b' '..=b'~').contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_handler_with_few_processes_takes_one_page() {
        let geometry = Geometry::of(1, PAGE).unwrap();
        assert_eq!(Geometry::size(1, 1), PAGE);
        assert_eq!(geometry.processes, 17);
    }

    proptest! {
        #[test]
        fn no_block_is_outside_of_its_file(handlers: u64, size in 0..=2 * MAX_SIZE) {
            if let Some(geometry) = Geometry::of(handlers % 100_000, size) {
                let (handler, process) = (geometry.handlers - 1, geometry.processes - 1);
                let end = geometry.cell(process, handler) + size_of::<Cell>();
                prop_assert!(end as u64 <= size);
                let end = geometry.handler(handler) + size_of::<HandlerBlock>();
                prop_assert!(end <= geometry.process(0));
            }
            prop_assert_eq!(Geometry::of(u64::MAX - handlers % 1_000, size), None);
        }

        #[test]
        fn a_file_has_the_room_that_it_was_made_for(handlers in 1..2_000u64, processes in 1..9u64) {
            let geometry = Geometry::of(handlers, Geometry::size(handlers, processes)).unwrap();
            prop_assert!(geometry.processes as u64 >= processes);
        }
    }
}
