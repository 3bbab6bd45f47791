//! Where lines go, and the buffer before that.
//!
//! | where | when |
//! |---|---|
//! | journald's socket, with fields | under systemd: standard error is the journal |
//! | standard error, as text | elsewhere, or `--log-format text` |
//! | standard error, a line of JSON each | `--log-format json` |
//! | syslog | standard error is the client's connection (inetd) |
//!
//! On a standard error that is the journal all the same, a line begins with its priority (`<6>`: `sd-daemon(3)`,
//! `SyslogLevelPrefix=`).

use super::json;
use super::line::{Level, Line};
use super::native;
use super::queue::Queue;
use super::socket::Journal;
use super::text::single_line;
use crate::sync::lock;
use nix::syslog::{self, Facility, LogFlags, Severity};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, SystemTime};
use tokio::sync::Notify;
use tokio::time::sleep;

/// The format of lines (`--log-format`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Format {
    /// The journal's own, where lines go to the journal; else text.
    #[default]
    Automatic,
    Text,
    Json,
}

#[expect(clippy::large_enum_variant, reason = "there is one of it")]
enum Sink {
    Journal(Journal),
    Text,
    Json,
}

static SINK: OnceLock<Sink> = OnceLock::new();

/// Opens the log of a host, before the sandbox: a process that has confined itself cannot create sockets. Other
/// commands have text on standard error.
pub fn open(format: Format) {
    SINK.get_or_init(|| match format {
        Format::Automatic if under_journal() => Journal::connect().map_or(Sink::Text, Sink::Journal),
        Format::Automatic | Format::Text => Sink::Text,
        Format::Json => Sink::Json,
    });
}

fn sink() -> &'static Sink {
    SINK.get().unwrap_or(&Sink::Text)
}

/// Logs a line. It goes out in one system call, so that lines of several processes never mix.
pub fn write(line: &Line<'_>) {
    let message = single_line(format_args!("{}{}", line.about, line.message));
    if SYSLOG.load(Relaxed) {
        return write_syslog(line.level, &message);
    }
    let encoded = match sink() {
        Sink::Journal(_) => {
            let mut datagram = Vec::with_capacity(768);
            native::encode(&mut datagram, line, &message);
            datagram
        }
        Sink::Json => {
            let mut object = String::with_capacity(512);
            json::encode(&mut object, line, &message, SystemTime::now());
            object.into_bytes()
        }
        Sink::Text => as_text(line.level, &message).into_bytes(),
    };
    let mut buffered = buffered_lines();
    buffered.push(|to| to.extend_from_slice(&encoded));
    let is_urgent = line.level != Level::Info || buffered.size() > MAX_BUFFERED;
    drop(buffered);
    if is_urgent || !BUFFERED.load(Relaxed) {
        flush();
    }
}

fn as_text(level: Level, message: &str) -> String {
    let mut line = String::with_capacity(message.len() + 16);
    if under_journal() {
        line.extend(['<', char::from(b'0' + level as u8), '>']);
    } else {
        line.push_str("wasm-sock: ");
    }
    line.push_str(message);
    line.push('\n');
    line
}

/// Lines that were not written yet: several go out together, while the host is busy.
static BUFFER: Mutex<Queue> = Mutex::new(Queue::new());

/// The most bytes that are buffered.
const MAX_BUFFERED: usize = 16 * 1024;

/// Does the event loop call [`flush`]?
static BUFFERED: AtomicBool = AtomicBool::new(false);

/// Buffers lines of [`Level::Info`] until [`flush`], from here on.
pub fn buffer() {
    BUFFERED.store(true, Relaxed);
}

/// Writes the buffered lines.
pub fn flush() {
    // Other threads add lines while these are written.
    let mut lines = std::mem::take(&mut *buffered_lines());
    match sink() {
        Sink::Journal(journal) if !lines.is_empty() || journal.unsent() > 0 => {
            journal.send(&mut lines);
            if journal.unsent() > 0 {
                UNSENT.notify_one();
            }
        }
        _ if lines.is_empty() => {}
        Sink::Journal(_) => {}
        Sink::Text | Sink::Json => {
            // There is nowhere to report that the log cannot be written.
            let _ = std::io::stderr().write_all(lines.bytes());
        }
    }
    lines.clear();
    // The allocation is reused, unless another thread has added lines.
    let mut buffered = buffered_lines();
    if buffered.is_empty() {
        *buffered = lines;
    }
}

fn buffered_lines() -> MutexGuard<'static, Queue> {
    lock(&BUFFER)
}

/// Notified when journald had no room for all lines.
static UNSENT: Notify = Notify::const_new();

/// The pause before lines that journald had no room for are sent again, and the longest one, if it has taken none.
const RETRY: Duration = Duration::from_millis(1);
const LONGEST_RETRY: Duration = Duration::from_millis(100);

/// Sends the lines that journald had no room for, as soon as it has. Returns only where lines do not go to journald.
pub async fn retry() {
    let Sink::Journal(journal) = sink() else {
        return;
    };
    loop {
        UNSENT.notified().await;
        let mut pause = RETRY;
        loop {
            let before = journal.unsent();
            if before == 0 {
                break;
            }
            sleep(pause).await;
            flush();
            pause = match journal.unsent() < before {
                true => RETRY,
                false => (pause * 2).min(LONGEST_RETRY),
            };
        }
    }
}

/// Writes all lines at the end of the process, and waits until journald has received them, for a tenth of a second at
/// most.
pub fn finish() {
    flush();
    if let Sink::Journal(journal) = sink() {
        journal.finish();
    }
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
