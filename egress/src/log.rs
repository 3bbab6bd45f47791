//! Log lines: on standard error, with the level in front that journald reads (`sd-daemon(3)`) when it listens there.

use std::fmt::Display;
use std::io::Write;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Does journald read standard error (`$JOURNAL_STREAM`, `systemd.exec(5)`)?
static FOR_JOURNAL: LazyLock<bool> = LazyLock::new(|| std::env::var_os("JOURNAL_STREAM").is_some());

/// Since when warnings are counted, and how many there were.
static WARNINGS: Mutex<Option<(Instant, u32)>> = Mutex::new(None);

/// The most warnings in [`WINDOW`]: a host decides how many requests it sends that are refused.
const MOST_WARNINGS: u32 = 50;
const WINDOW: Duration = Duration::from_secs(10);

/// Something that keeps this program from working.
pub fn error(message: impl Display) {
    line("<3>", message);
}

/// Something that is probably a mistake. With too many of them, some are dropped.
pub fn warning(message: impl Display) {
    let mut warnings = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let (since, count) = warnings.get_or_insert((Instant::now(), 0));
    if since.elapsed() > WINDOW {
        (*since, *count) = (Instant::now(), 0);
    }
    *count += 1;
    match *count {
        1..MOST_WARNINGS => line("<4>", message),
        MOST_WARNINGS => line("<4>", "more warnings are dropped for some seconds"),
        _ => {}
    }
}

fn line(level: &str, message: impl Display) {
    let level = if *FOR_JOURNAL { level } else { "" };
    // There is no other place to report that it fails.
    let _ = writeln!(std::io::stderr(), "{level}wasm-sock-egress: {message}");
}
