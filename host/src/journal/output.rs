//! Where lines go (standard error, syslog), and the buffer before that.
//!
//! Under systemd, standard error is the journal, and a line begins with its priority (`<6>`: `sd-daemon(3)`,
//! `SyslogLevelPrefix=`). Elsewhere it is a terminal or a file: no priority.

use super::line::{Level, Line};
use super::text::single_line;
use crate::sync::lock;
use nix::syslog::{self, Facility, LogFlags, Severity};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock};

/// Logs a line. It goes out in one `write(2)`, so that lines of several processes never mix.
pub fn write(line: &Line<'_>) {
    let message = single_line(format_args!("{}{}", line.about, line.message));
    if SYSLOG.load(Relaxed) {
        return write_syslog(line.level, &message);
    }
    let mut buffered = buffered_lines();
    if under_journal() {
        let _ = write!(buffered, "<{}>", line.level as u8);
    } else {
        buffered.push_str("wasm-sock: ");
    }
    buffered.push_str(&message);
    buffered.push('\n');
    let is_urgent = line.level != Level::Info || buffered.len() > MAX_BUFFERED;
    drop(buffered);
    if is_urgent || !BUFFERED.load(Relaxed) {
        flush();
    }
}

/// Lines that were not written yet: several go out in one `write(2)`, while the host is busy.
static BUFFER: Mutex<String> = Mutex::new(String::new());

/// The most bytes that are buffered.
const MAX_BUFFERED: usize = 16 * 1024;

/// Does the event loop call [`flush`]?
static BUFFERED: AtomicBool = AtomicBool::new(false);

/// Buffers lines of [`Level::Info`] until [`flush`], from here on.
pub fn buffer() {
    BUFFERED.store(true, Relaxed);
}

/// Writes the buffered lines to standard error.
pub fn flush() {
    // Other threads add lines while these are written.
    let mut lines = std::mem::take(&mut *buffered_lines());
    if lines.is_empty() {
        return;
    }
    // There is nowhere to report that the log cannot be written.
    let _ = std::io::stderr().write_all(lines.as_bytes());
    lines.clear();
    // The allocation is reused, unless another thread has made a new one.
    let mut buffered = buffered_lines();
    if buffered.capacity() == 0 {
        *buffered = lines;
    }
}

fn buffered_lines() -> MutexGuard<'static, String> {
    lock(&BUFFER)
}

/// Do lines go to syslog, because standard error is the client's connection (inetd)?
static SYSLOG: AtomicBool = AtomicBool::new(false);

/// Logs to syslog from here on (`syslog(3)`): programs that inetd starts have no standard error of their own.
pub fn use_syslog() {
    // LOG_NDELAY connects now: a process that has confined itself cannot create sockets.
    let options = LogFlags::LOG_PID | LogFlags::LOG_NDELAY;
    // It fails only for a name that is too long.
    let _ = syslog::openlog(Some(c"wasm-sock"), options, Facility::LOG_DAEMON);
    SYSLOG.store(true, Relaxed);
}

fn write_syslog(level: Level, message: &str) {
    let severity = match level {
        Level::Error => Severity::LOG_ERR,
        Level::Warning => Severity::LOG_WARNING,
        Level::Info => Severity::LOG_INFO,
    };
    // It fails only for a text with a NUL byte, and those are escaped.
    let _ = syslog::syslog(severity, message);
}

/// Is standard error connected to the journal? `$JOURNAL_STREAM` names its device and inode
/// (`systemd.exec(5)`).
fn under_journal() -> bool {
    static ANSWER: OnceLock<bool> = OnceLock::new();
    *ANSWER.get_or_init(|| {
        let Ok(stream) = std::env::var("JOURNAL_STREAM") else {
            return false;
        };
        let Ok(stat) = rustix::fs::fstat(std::io::stderr()) else {
            return false;
        };
        stream == format!("{}:{}", stat.st_dev, stat.st_ino)
    })
}
