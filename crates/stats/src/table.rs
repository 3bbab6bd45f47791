//! The counters of a host: its place in a file, and those of its handlers.

use crate::file::{self, Open};
use crate::histogram::bucket;
use crate::layout::{Cell, HandlerBlock, HistogramCounters, LIFE, is_name, key};
use crate::mapping::Mapping;
use crate::outcome::Outcome;
use rustix::process::getpid;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::fence;
use std::time::Duration;

/// The counters of this process, in a file that others share.
#[derive(Clone)]
pub struct Table {
    mapping: Arc<Mapping>,
    process: usize,
}

/// Why nothing is counted.
#[derive(Debug)]
pub struct TableError {
    pub path: PathBuf,
    pub error: io::Error,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.error)
    }
}

impl std::error::Error for TableError {}

impl Table {
    /// Takes a place in the file of these handlers, in `directory`, both of which are made if they are not there. No
    /// descriptor stays open. The lock on the place survives in a process that is forked from this one: fork before.
    ///
    /// # Errors
    /// Those of the file system (it is read-only, or full); when too many hosts have a place. Nothing is changed then.
    pub fn open<'a>(directory: &Path, names: impl IntoIterator<Item = &'a str>) -> Result<Self, TableError> {
        let (name, handlers) = file::name_of(names);
        Self::open_file(directory, name, handlers).map_err(|error| TableError {
            path: directory.join(name),
            error,
        })
    }

    fn open_file(directory: &Path, name: &str, handlers: u64) -> io::Result<Self> {
        let mut open = file::open_or_make(directory, name, handlers)?;
        loop {
            if let Some(process) = take_place(&open)? {
                let mapping = Arc::new(open.mapping);
                return Ok(Self { mapping, process });
            }
            open.grow()?;
        }
    }

    /// The counters of a handler. If the file has no place left for its name, it shares the last one with all that have
    /// none; in a file of another handler it has none at all, and nothing is counted.
    pub fn handler(&self, name: &str) -> HandlerStats {
        let place = is_name(name.as_bytes())
            .then(|| find(&self.mapping, name.as_bytes()))
            .flatten();
        HandlerStats(place.map(|handler| Place {
            table: self.clone(),
            handler,
        }))
    }

    /// Counts a reload of the configuration, which was applied or not. One store: a reader sees both, or neither.
    pub fn set_reload(&self, is_applied: bool) {
        let reloads = &self.mapping.process(self.process).reloads;
        let count = (reloads.load(Relaxed) >> 1) + 1;
        reloads.store(count << 1 | u64::from(!is_applied), Release);
    }

    /// Gives the place back. Called last: what is still in flight is reset by the exit, and counts as drained.
    pub fn leave(&self) {
        for handler in 0..self.mapping.geometry.handlers {
            let cell = self.mapping.cell(self.process, handler);
            let left = left(cell).wrapping_sub(cell.killed.load(Relaxed));
            if left > 0 {
                cell.ended[Outcome::Drained as usize].fetch_add(left, Relaxed);
            }
        }
        self.mapping.process(self.process).pid.store(0, Release);
    }
}

/// Takes a place that no other process has. `None`: all are taken.
fn take_place(open: &Open) -> io::Result<Option<usize>> {
    let mapping = &open.mapping;
    let places = || 0..mapping.geometry.processes;
    let pid = |process: usize| mapping.process(process).pid.load(Relaxed);
    // A lock takes as long as there are locks, so those places come first whose last process has said that it is gone.
    let (left, others): (Vec<_>, Vec<_>) = places().partition(|process| pid(*process) == 0);
    for process in left.into_iter().chain(others) {
        let place = mapping.geometry.process(process);
        if open.try_lock(place)? {
            begin_moving_in(mapping, process);
            // Readers take the process for alive from here on: what the last one left has been counted before.
            open.try_lock(place + LIFE)?;
            end_moving_in(mapping, process);
            return Ok(Some(process));
        }
    }
    Ok(None)
}

/// Makes the generation of our place odd, and counts what its last process had in flight. May be interrupted at any
/// point, and done again by the next process.
fn begin_moving_in(mapping: &Mapping, process: usize) {
    let block = mapping.process(process);
    let last = block.generation.load(Relaxed);
    // First: readers compare it before and after they read the rest. Also another one if the last process was
    // interrupted here.
    block.generation.store((last | 1).wrapping_add(2 * (last & 1)), Release);
    fence(SeqCst);
    if block.pid.load(Relaxed) != 0 {
        settle(mapping, process);
    }
}

/// Notes that we are in our place, which we have locked.
fn end_moving_in(mapping: &Mapping, process: usize) {
    let block = mapping.process(process);
    block.reloads.store(0, Relaxed);
    block.since.store(now(), Relaxed);
    block.pid.store(getpid().as_raw_nonzero().get() as u32, Release);
    block.generation.fetch_add(1, AcqRel);
}

/// Counts what the last process of this place had in flight as killed.
fn settle(mapping: &Mapping, process: usize) {
    for handler in 0..mapping.geometry.handlers {
        let cell = mapping.cell(process, handler);
        let killed = left(cell);
        if killed != cell.killed.load(Relaxed) {
            cell.killed.store(killed, Relaxed);
        }
    }
}

/// What has begun and not ended.
fn left(cell: &Cell) -> u64 {
    let ended = cell.ended.iter();
    let ended = ended.fold(0, |sum: u64, count| sum.wrapping_add(count.load(Relaxed)));
    cell.started.load(Relaxed).wrapping_sub(ended)
}

/// Finds the block of a name, or takes one for it.
fn find(mapping: &Mapping, name: &[u8]) -> Option<usize> {
    let (wanted, last) = (key(name), mapping.geometry.handlers - 1);
    // The last block of a shared file has no name.
    let (named, other) = if last > 0 { (last, Some(last)) } else { (1, None) };
    let first = (wanted % named as u64) as usize;
    for handler in (first..named).chain(0..first) {
        let block = mapping.handler(handler);
        let key = match block.key.load(Acquire) {
            0 => block.key.compare_exchange(0, wanted, AcqRel, Acquire),
            key => Err(key),
        };
        let is_free_or_ours = key.is_ok() || key == Err(wanted);
        if is_free_or_ours && is_named(block, name) {
            return Some(handler);
        }
    }
    other
}

/// Is this the name of the block, which has its hash? If the block has no name, because it was just taken, or because
/// the process that took it was killed, this is its name: several processes may write it at a time.
fn is_named(block: &HandlerBlock, name: &[u8]) -> bool {
    match block.length.load(Acquire) as usize {
        0 => {
            for (to, byte) in block.name.iter().zip(name) {
                to.store(*byte, Relaxed);
            }
            block.length.store(name.len() as u32, Release);
            true
        }
        length => {
            let bytes = block.name.iter().take(length).map(|byte| byte.load(Relaxed));
            length == name.len() && bytes.eq(name.iter().copied())
        }
    }
}

/// The counters of a handler. Without a table nothing is counted.
#[derive(Clone, Default)]
pub struct HandlerStats(Option<Place>);

#[derive(Clone)]
struct Place {
    table: Table,
    handler: usize,
}

/// A connection, a datagram or a request that has ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    pub outcome: Outcome,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// From the acceptance to the end; `None`: no guest was asked.
    pub duration: Option<Duration>,
    /// From the acceptance to the first byte of the answer; `None`: there was none.
    pub first_byte: Option<Duration>,
    /// CPU time of the guest.
    pub cpu: Duration,
    /// The most memory that the guest has had, in bytes.
    pub memory_peak: u64,
    /// The status of an HTTP answer.
    pub status: Option<u16>,
}

impl HandlerStats {
    /// Counts a start of the host for a client of this handler.
    pub fn activated(&self) {
        if let Some(place) = &self.0 {
            place.block().counters.activations.fetch_add(1, Relaxed);
        }
    }

    /// Counts a connection, a datagram or a request as begun. [`Self::end`] has to follow.
    pub fn begin(&self) {
        if let Some(place) = &self.0 {
            place.cell().started.fetch_add(1, Relaxed);
            place.block().counters.last_client.store(now(), Relaxed);
        }
    }

    /// Takes back a [beginning](Self::begin): it was a connection whose requests are counted.
    pub fn take_back(&self) {
        if let Some(place) = &self.0 {
            place.cell().started.fetch_sub(1, Relaxed);
        }
    }

    /// Counts as ended what has [begun](Self::begin).
    pub fn end(&self, ended: &Ended) {
        let Some(place) = &self.0 else {
            return;
        };
        let counters = &place.block().counters;
        counters.bytes_in.fetch_add(ended.bytes_in, Relaxed);
        counters.bytes_out.fetch_add(ended.bytes_out, Relaxed);
        counters.cpu.fetch_add(nanoseconds(ended.cpu), Relaxed);
        if ended.memory_peak > counters.memory_peak.load(Relaxed) {
            counters.memory_peak.fetch_max(ended.memory_peak, Relaxed);
        }
        if let Some(time) = ended.duration {
            add(&counters.duration, time);
        }
        if let Some(time) = ended.first_byte {
            add(&counters.first_byte, time);
        }
        let class = ended.status.map(|status| usize::from(status / 100));
        if let Some(count) = class.and_then(|class| counters.classes.get(class.checked_sub(1)?)) {
            count.fetch_add(1, Relaxed);
        }
        // Last, so that what a reader sees as ended is in the other counters.
        place.cell().ended[ended.outcome as usize].fetch_add(1, Release);
    }

    /// Counts log lines of a guest that were dropped (`max-log`).
    pub fn dropped_lines(&self, count: u64) {
        if let Some(place) = &self.0 {
            place.block().counters.lines_dropped.fetch_add(count, Relaxed);
        }
    }
}

impl Place {
    fn block(&self) -> &HandlerBlock {
        self.table.mapping.handler(self.handler)
    }

    fn cell(&self) -> &Cell {
        self.table.mapping.cell(self.table.process, self.handler)
    }
}

fn add(histogram: &HistogramCounters, time: Duration) {
    let time = nanoseconds(time);
    histogram.buckets[bucket(time)].fetch_add(1, Relaxed);
    histogram.sum.fetch_add(time, Relaxed);
}

fn nanoseconds(time: Duration) -> u64 {
    time.as_nanos().try_into().unwrap_or(u64::MAX)
}

/// Microseconds since 1970, as exact as the kernel's tick: a few milliseconds, for a tenth of the time.
pub fn now() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes a time, and fails only for clocks that do not exist. (musl asks the vDSO; rustix would look for
    // it first.)
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut time) };
    time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000
}
