//! Reading the counters of all handlers. Nothing in the files is believed: other processes may write what they want.

use crate::file::{self, SHARED};
use crate::histogram::{BUCKETS, Histogram};
use crate::layout::{
    Cell, Geometry, HandlerBlock, HandlerCounters, Header, LIFE, MAGIC, MAX_NAME, MAX_SIZE, ProcessBlock, is_name,
};
use crate::outcome::Outcome;
use rustix::fs::{FileType, Mode, OFlags, RawDir, fstat, open, openat};
use rustix::io::{Errno, pread};
use std::collections::BTreeMap;
use std::io;
use std::mem::{MaybeUninit, offset_of};
use std::os::fd::OwnedFd;
use std::path::Path;

/// How often a file is read again that changes while it is read.
const ATTEMPTS: u32 = 8;

/// The name of what handlers have together for which their file had no place left.
pub const OTHERS: &str = "@others";

/// The counters of a handler: those of all its processes together, also of those that are gone.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct HandlerSnapshot {
    pub name: String,
    /// Its hosts that are running.
    pub hosts: Vec<HostSnapshot>,
    /// Since when it has been counted: microseconds since 1970.
    pub created: u64,
    pub activations: u64,
    /// Connections, datagrams and requests that hosts which are running serve now.
    pub in_flight: u64,
    /// Those that have ended, by [`Outcome`].
    pub ended: [u64; Outcome::ALL.len()],
    /// Those that were in flight when their host was killed.
    pub killed: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// CPU time of its guests, in nanoseconds.
    pub cpu: u64,
    /// The most memory that one of its guests has had, in bytes.
    pub memory_peak: u64,
    /// Log lines of its guests that were dropped (`max-log`).
    pub lines_dropped: u64,
    /// When a client came last: microseconds since 1970; 0: never.
    pub last_client: u64,
    /// HTTP answers: 1xx, 2xx, 3xx, 4xx, 5xx.
    pub classes: [u64; 5],
    /// From the acceptance to the end.
    pub duration: Histogram,
    /// From the acceptance to the first byte of the answer.
    pub first_byte: Histogram,
}

/// A host that is running.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSnapshot {
    pub pid: u32,
    /// When it began: microseconds since 1970.
    pub since: u64,
    /// How often it was told to read its configuration again.
    pub reloads: u64,
    /// Could it not apply the configuration, the last time?
    pub reload_failed: bool,
}

impl HandlerSnapshot {
    /// Connections, datagrams and requests that have ended, in whatever way.
    pub fn served(&self) -> u64 {
        self.ended
            .iter()
            .fold(self.killed, |sum, count| sum.saturating_add(*count))
    }

    /// Those that have failed: all but those that were served, and those whose client left.
    pub fn failed(&self) -> u64 {
        let fine = [Outcome::Ok, Outcome::ClientLeft].map(|outcome| self.ended[outcome as usize]);
        fine.iter()
            .fold(self.served(), |failed, fine| failed.saturating_sub(*fine))
    }

    fn add(&mut self, other: Self) {
        let sum = |count: &mut u64, more: u64| *count = count.saturating_add(more);
        self.hosts.extend(other.hosts);
        self.created = self.created.min(other.created);
        self.memory_peak = self.memory_peak.max(other.memory_peak);
        self.last_client = self.last_client.max(other.last_client);
        sum(&mut self.activations, other.activations);
        sum(&mut self.in_flight, other.in_flight);
        sum(&mut self.killed, other.killed);
        sum(&mut self.bytes_in, other.bytes_in);
        sum(&mut self.bytes_out, other.bytes_out);
        sum(&mut self.cpu, other.cpu);
        sum(&mut self.lines_dropped, other.lines_dropped);
        for (count, more) in self.ended.iter_mut().zip(other.ended) {
            sum(count, more);
        }
        for (count, more) in self.classes.iter_mut().zip(other.classes) {
            sum(count, more);
        }
        self.duration.add(&other.duration);
        self.first_byte.add(&other.first_byte);
    }
}

/// The counters of all handlers, sorted by name. None if there is no such directory. Files that are none of ours are
/// left out.
///
/// # Errors
/// Those of opening and reading the directory.
pub fn read_all(directory: &Path) -> io::Result<Vec<HandlerSnapshot>> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    let directory = match open(directory, flags, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Vec::new()),
        result => result?,
    };
    let mut handlers: BTreeMap<String, HandlerSnapshot> = BTreeMap::new();
    for name in names(&directory)? {
        for snapshot in read_file(&directory, &name) {
            match handlers.get_mut(&snapshot.name) {
                Some(known) => known.add(snapshot),
                None => drop(handlers.insert(snapshot.name.clone(), snapshot)),
            }
        }
    }
    Ok(handlers.into_values().collect())
}

fn names(directory: &OwnedFd) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    let mut space = [MaybeUninit::uninit(); 16 * 1024];
    let mut entries = RawDir::new(directory, &mut space);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let is_regular = matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown);
        let name = entry.file_name().to_bytes();
        if is_regular && !file::is_unfinished(name) && (name == SHARED.as_bytes() || is_name(name)) {
            names.push(String::from_utf8_lossy(name).into_owned());
        }
    }
    Ok(names)
}

/// The counters in a file; none if it cannot be read, or is none of ours.
fn read_file(directory: &OwnedFd, name: &str) -> Vec<HandlerSnapshot> {
    // NONBLOCK: a pipe may have been put there.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let Ok(file) = openat(directory, name, flags, Mode::empty()) else {
        return Vec::new();
    };
    let mut contents = None;
    for _ in 0..ATTEMPTS {
        // Whether a process lives is found out between two readings. Only if the place had the same process in both
        // (or none), what the second one says of it is of a time when that was so.
        let Some(before) = Contents::read(&file) else {
            return Vec::new();
        };
        let generations = before.generations();
        let lives = before.lives(&file);
        if !lives.contains(&true) && before.is_settled() {
            // Most are asleep: there is nothing that a process could be about to change the meaning of.
            contents = Some((before, lives));
            break;
        }
        let Some(after) = Contents::read(&file) else {
            return Vec::new();
        };
        let is_same = after.generations() == generations;
        contents = Some((after, lives));
        if is_same {
            break;
        }
    }
    let Some((contents, lives)) = contents else {
        return Vec::new();
    };
    let snapshots = (0..contents.geometry.handlers).filter_map(|handler| contents.snapshot(handler, &lives));
    snapshots
        .filter(|snapshot| name == SHARED || name == snapshot.name)
        .collect()
}

/// A copy of a file.
struct Contents {
    bytes: Vec<u8>,
    geometry: Geometry,
}

impl Contents {
    /// `None`: it cannot be read, or is no file of counters.
    fn read(file: &OwnedFd) -> Option<Self> {
        let stat = fstat(file).ok()?;
        let size = u64::try_from(stat.st_size).ok().filter(|size| *size <= MAX_SIZE)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return None;
        }
        let mut bytes = vec![0; size as usize];
        let mut length = 0;
        while length < bytes.len() {
            match pread(file, &mut bytes[length..], length as u64) {
                Ok(0) => break,
                Ok(count) => length += count,
                Err(Errno::INTR) => {}
                Err(_) => return None,
            }
        }
        bytes.truncate(length);
        let handlers = number(&bytes, offset_of!(Header, handlers))?;
        let geometry = Geometry::of(handlers, bytes.len() as u64)?;
        let is_ours = number(&bytes, offset_of!(Header, magic)) == Some(MAGIC);
        is_ours.then_some(Self { bytes, geometry })
    }

    fn process(&self, process: usize, field: usize) -> u64 {
        self.number(self.geometry.process(process) + field)
    }

    fn generations(&self) -> Vec<u64> {
        let generation = |process| self.process(process, offset_of!(ProcessBlock, generation));
        let mut generations: Vec<u64> = (0..self.geometry.processes).map(generation).collect();
        // A file that has grown is as it was, if no process has taken one of the new places.
        let used = generations.iter().rposition(|generation| *generation != 0);
        generations.truncate(used.map_or(0, |last| last + 1));
        generations
    }

    fn pid(&self, process: usize) -> u32 {
        self.process(process, offset_of!(ProcessBlock, pid)) as u32
    }

    /// Which processes are alive.
    fn lives(&self, file: &OwnedFd) -> Vec<bool> {
        let is_alive = |process: usize| {
            let is_locked = || file::is_locked(file, self.geometry.process(process) + LIFE);
            self.pid(process) != 0 && is_locked().unwrap_or(false)
        };
        (0..self.geometry.processes).map(is_alive).collect()
    }

    /// Is nothing in flight that has not been counted as killed?
    fn is_settled(&self) -> bool {
        (0..self.geometry.processes).all(|process| {
            (0..self.geometry.handlers).all(|handler| {
                let cell = self.geometry.cell(process, handler);
                let ended: [u64; Outcome::ALL.len()] = self.numbers(cell + offset_of!(Cell, ended));
                let ended = ended.iter().fold(0, |sum: u64, count| sum.wrapping_add(*count));
                let left = self.started(process, handler).wrapping_sub(ended);
                left == self.number(cell + offset_of!(Cell, killed))
            })
        })
    }

    /// The counters of a handler; `None`: it has none, or no proper name.
    fn snapshot(&self, handler: usize, lives: &[bool]) -> Option<HandlerSnapshot> {
        let block = self.geometry.handler(handler);
        let mut snapshot = HandlerSnapshot {
            name: self.name(handler)?,
            created: self.number(offset_of!(Header, created)),
            ..self.counters(block + offset_of!(HandlerBlock, counters))
        };
        for process in 0..self.geometry.processes {
            let is_alive = lives.get(process).copied().unwrap_or(false);
            self.add_cell(&mut snapshot, process, handler, is_alive);
        }
        Some(snapshot)
    }

    fn name(&self, handler: usize) -> Option<String> {
        let block = self.geometry.handler(handler);
        let length = self.number(block + offset_of!(HandlerBlock, length)) as u32 as usize;
        let is_last = handler + 1 == self.geometry.handlers;
        if length == 0 && is_last && handler > 0 {
            let is_used = (0..self.geometry.processes).any(|process| self.started(process, handler) > 0);
            return is_used.then(|| OTHERS.to_owned());
        }
        let start = block + offset_of!(HandlerBlock, name);
        let name = self.bytes.get(start..start + length.min(MAX_NAME + 1))?;
        is_name(name).then(|| String::from_utf8_lossy(name).into_owned())
    }

    fn started(&self, process: usize, handler: usize) -> u64 {
        self.number(self.geometry.cell(process, handler) + offset_of!(Cell, started))
    }

    fn add_cell(&self, snapshot: &mut HandlerSnapshot, process: usize, handler: usize, is_alive: bool) {
        let cell = self.geometry.cell(process, handler);
        let ended: [u64; Outcome::ALL.len()] = self.numbers(cell + offset_of!(Cell, ended));
        let all = ended.iter().fold(0, |sum: u64, count| sum.saturating_add(*count));
        let left = self.started(process, handler).saturating_sub(all);
        let killed = match is_alive {
            // Those of the processes before. What it has itself is in flight.
            true => left.min(self.number(cell + offset_of!(Cell, killed))),
            // What the next process of this place will count.
            false => left,
        };
        let mut sum = HandlerSnapshot {
            ended,
            killed,
            in_flight: left - killed,
            created: u64::MAX,
            ..HandlerSnapshot::default()
        };
        if is_alive {
            sum.hosts.push(self.host(process));
        }
        snapshot.add(sum);
    }

    fn host(&self, process: usize) -> HostSnapshot {
        let reloads = self.process(process, offset_of!(ProcessBlock, reloads));
        HostSnapshot {
            pid: self.pid(process),
            since: self.process(process, offset_of!(ProcessBlock, since)),
            reloads: reloads >> 1,
            reload_failed: reloads & 1 != 0,
        }
    }

    fn counters(&self, start: usize) -> HandlerSnapshot {
        let number = |field| self.number(start + field);
        HandlerSnapshot {
            activations: number(offset_of!(HandlerCounters, activations)),
            bytes_in: number(offset_of!(HandlerCounters, bytes_in)),
            bytes_out: number(offset_of!(HandlerCounters, bytes_out)),
            cpu: number(offset_of!(HandlerCounters, cpu)),
            memory_peak: number(offset_of!(HandlerCounters, memory_peak)),
            lines_dropped: number(offset_of!(HandlerCounters, lines_dropped)),
            last_client: number(offset_of!(HandlerCounters, last_client)),
            classes: self.numbers(start + offset_of!(HandlerCounters, classes)),
            duration: self.histogram(start + offset_of!(HandlerCounters, duration)),
            first_byte: self.histogram(start + offset_of!(HandlerCounters, first_byte)),
            ..HandlerSnapshot::default()
        }
    }

    fn histogram(&self, start: usize) -> Histogram {
        Histogram {
            buckets: self.numbers(start),
            sum: self.number(start + BUCKETS * size_of::<u64>()),
        }
    }

    fn numbers<const COUNT: usize>(&self, start: usize) -> [u64; COUNT] {
        std::array::from_fn(|place| self.number(start + place * size_of::<u64>()))
    }

    /// All offsets are those of blocks, which are within the file.
    fn number(&self, offset: usize) -> u64 {
        number(&self.bytes, offset).unwrap_or_default()
    }
}

fn number(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*bytes))
}
