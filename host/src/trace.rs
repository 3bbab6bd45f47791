//! Cold-start profiling: with `WASM_SOCK_TRACE=cold` in the environment, one line in the log tells how long each step
//! took, from `main` to the first byte of the first connection.

use crate::journal::{self, Level};
use rustix::time::{ClockId, clock_gettime};
use std::env;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

/// A step of the cold start, in the order in which they are completed.
#[derive(Debug, Clone, Copy)]
pub enum Mark {
    Main,
    Sockets,
    Configuration,
    Sandbox,
    Engine,
    Accept,
    Load,
    Link,
    Instantiate,
    FirstByte,
}

/// The names of the steps for the log, in the order of [`Mark`].
const NAMES: [&str; 10] = [
    "main",
    "sockets",
    "configuration",
    "sandbox",
    "engine",
    "accept",
    "load",
    "link",
    "instantiate",
    "first byte",
];

static ENABLED: AtomicBool = AtomicBool::new(false);

/// When each mark was passed for the first time, in nanoseconds of `CLOCK_MONOTONIC`; 0: not yet.
static PASSED: [AtomicU64; NAMES.len()] = [const { AtomicU64::new(0) }; NAMES.len()];

/// Enables the trace if the environment asks for it, and passes the first mark.
pub fn start() {
    if env::var_os("WASM_SOCK_TRACE").is_some_and(|wanted| wanted == "cold") {
        ENABLED.store(true, Relaxed);
    }
    pass(Mark::Main);
}

/// Records the time when a mark is passed first. The last mark writes the report to the log.
pub fn pass(mark: Mark) {
    if !ENABLED.load(Relaxed) {
        return;
    }
    let now = clock_gettime(ClockId::Monotonic);
    let now = now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64;
    let first = PASSED[mark as usize].compare_exchange(0, now, Relaxed, Relaxed);
    if matches!((mark, first), (Mark::FirstByte, Ok(_))) {
        journal::log(Level::Info, report());
    }
}

/// The time between each mark and the one before, in microseconds; and the time of `main`, so that a program which
/// noted `CLOCK_MONOTONIC` before it started the host can tell how long that took.
fn report() -> String {
    let mut passed: Vec<(u64, &str)> = PASSED
        .iter()
        .map(|time| time.load(Relaxed))
        .zip(NAMES)
        .filter(|(time, _)| *time > 0)
        .collect();
    passed.sort_unstable();
    let mut report = String::from("cold start:");
    let main = passed.first().map_or(0, |(time, _)| *time);
    for pair in passed.windows(2) {
        let [(before, _), (time, name)] = pair else {
            continue;
        };
        let took = (time - before) as f64 / 1000.0;
        let _ = write!(report, " {name} {took:.1}µs,");
    }
    let _ = write!(report, " from main at {main} ns of CLOCK_MONOTONIC");
    report
}
