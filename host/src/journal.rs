//! Logging: one line for each event to standard error or syslog, with buffering, rate limits and escaping of control
//! characters (log injection).
//!
//! Under systemd, standard error is the journal, and a line begins with its priority (`<6>`: `sd-daemon(3)`,
//! `SyslogLevelPrefix=`). Elsewhere it is a terminal or a file: no priority.

use crate::sync::lock;
use nix::syslog::{self, Facility, LogFlags, Severity};
use std::fmt::{self, Display, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

/// The priority of a line: those of `syslog(3)` that the host uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error = 3,
    Warning = 4,
    Info = 6,
}

/// A duration for the log, with one decimal and a suitable unit: `12.3ms`. Formatting [`Duration`] itself takes several
/// times as long.
pub struct ShortDuration(pub Duration);

impl Display for ShortDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (time, unit, size) = match self.0.as_nanos() {
            time @ 0..1_000 => (time, "ns", 1),
            time @ 1_000..1_000_000 => (time, "µs", 1_000),
            time @ 1_000_000..1_000_000_000 => (time, "ms", 1_000_000),
            time => (time, "s", 1_000_000_000),
        };
        let tenths = ((time * 10 + size / 2) / size) as u64;
        let mut digits = itoa::Buffer::new();
        f.write_str(digits.format(tenths / 10))?;
        f.write_str(".")?;
        f.write_str(digits.format(tenths % 10))?;
        f.write_str(unit)
    }
}

/// Logs one line about the host itself.
pub fn log(level: Level, message: impl Display) {
    write_line(level, format_args!("{message}"));
}

/// Logs one line about a handler.
pub fn log_handler(level: Level, handler: &str, message: impl Display) {
    write_line(level, format_args!("{handler}: {message}"));
}

/// Logs one line about a connection, datagram or request of `peer` to a handler.
pub fn log_connection(level: Level, handler: &str, peer: impl Display, message: impl Display) {
    write_line(level, format_args!("{handler} {peer}: {message}"));
}

/// The length of a rate-limit [`Window`].
const WINDOW: Duration = Duration::from_secs(10);

/// A fixed window of a rate limit: the lines that were logged since it began.
#[derive(Default)]
pub struct Window {
    began: Option<Instant>,
    lines: u32,
}

impl Window {
    /// Counts one more line. Returns whether it may be logged: at most `most` lines in a window.
    pub fn take(&mut self, most: u32, now: Instant) -> bool {
        let is_current = |began: Instant| now.saturating_duration_since(began) < WINDOW;
        if !self.began.is_some_and(is_current) {
            self.began = Some(now);
            self.lines = 0;
        }
        let is_left = self.lines < most;
        self.lines += u32::from(is_left);
        is_left
    }
}

/// A rate-limited warning: for what may happen very often. Suppressed lines are counted, and the next line tells
/// how many there were.
#[derive(Default)]
pub struct RateLimited(Mutex<ReportState>);

#[derive(Default)]
struct ReportState {
    window: Window,
    /// Lines that were not logged since the last that was.
    suppressed: u64,
}

/// Lines of one [`RateLimited`] that are logged in a [`Window`].
const MAX_WARNINGS: u32 = 5;

impl RateLimited {
    /// Logs a warning about `subject`, a handler or one of its clients, unless the window is full.
    pub fn warn(&self, subject: impl Display, message: impl Display) {
        let mut state = lock(&self.0);
        if !state.window.take(MAX_WARNINGS, Instant::now()) {
            state.suppressed += 1;
            return;
        }
        let suppressed = std::mem::take(&mut state.suppressed);
        drop(state);
        if suppressed == 0 {
            log(Level::Warning, format_args!("{subject}: {message}"));
        } else {
            let more = format_args!("{suppressed} more since this was last logged");
            log(Level::Warning, format_args!("{subject}: {message}; {more}"));
        }
    }
}

/// The longest message, in bytes; the rest of it is not even formatted. journald would split a line at
/// 48 KiB (`LineMax=`), and take the beginning of the rest for a priority.
const MAX_MESSAGE: usize = 4096;

/// The beginning of `text`, at most `most` bytes, with `…` where it was cut: for text of clients and guests.
pub fn shortened(text: impl Display, most: usize) -> String {
    let mut short = String::new();
    write_some(&mut short, text, most);
    short
}

/// Appends `text` to `to`, cut like [`shortened`].
pub fn write_some(to: &mut String, text: impl Display, most: usize) {
    struct Beginning<'a> {
        to: &'a mut String,
        left: usize,
    }
    impl fmt::Write for Beginning<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let end = text.floor_char_boundary(self.left);
            self.to.push_str(&text[..end]);
            self.left -= end;
            // The error stops the formatting.
            if end < text.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut beginning = Beginning { to, left: most };
    if write!(beginning, "{text}").is_err() {
        to.push('…');
    }
}

/// Logs a line. It goes out in one `write(2)`, so that lines of several processes never mix.
fn write_line(level: Level, message: std::fmt::Arguments<'_>) {
    if SYSLOG.load(Relaxed) {
        return write_syslog(level, message);
    }
    let mut line = String::with_capacity(160);
    if under_journal() {
        let _ = write!(line, "<{}>", level as u8);
    } else {
        line.push_str("wasm-sock: ");
    }
    let start = line.len();
    write_some(&mut line, message, MAX_MESSAGE);
    if needs_escaping(&line[start..]) {
        // Escaped text is longer, so it is cut again.
        let clean = printable(&line[start..]);
        line.truncate(start);
        write_some(&mut line, &clean, MAX_MESSAGE);
    }
    line.push('\n');
    let mut buffered = buffered_lines();
    buffered.push_str(&line);
    let is_urgent = level != Level::Info || buffered.len() > MAX_BUFFERED;
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

fn write_syslog(level: Level, message: std::fmt::Arguments<'_>) {
    let text = shortened(printable(&shortened(message, MAX_MESSAGE)), MAX_MESSAGE);
    let severity = match level {
        Level::Error => Severity::LOG_ERR,
        Level::Warning => Severity::LOG_WARNING,
        Level::Info => Severity::LOG_INFO,
    };
    // It fails only for a text with a NUL byte, and `printable` escapes those.
    let _ = syslog::syslog(severity, &text);
}

/// Is there a character that [`printable`] escapes?
fn needs_escaping(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Every line is checked, sixteen bytes at a time: few have a byte that may be part of such a character.
    let is_suspect = |byte: &u8| *byte < b' ' || (0x7f..=0x9f).contains(byte);
    let (chunks, rest) = bytes.as_chunks::<16>();
    let has_suspect = |chunk: &[u8; 16]| chunk.iter().fold(false, |any, byte| any | is_suspect(byte));
    (chunks.iter().any(has_suspect) || rest.iter().any(is_suspect)) && text.chars().any(is_unprintable)
}

/// Control characters (except tab), line separators, and characters that change the direction of text (UAX 9).
/// Escaping them prevents log injection: text of a guest can neither forge a second line, nor control the terminal
/// that shows it, nor display text in another order.
fn is_unprintable(c: char) -> bool {
    let is_bidirectional =
        matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\t') || is_bidirectional || matches!(c, '\u{2028}' | '\u{2029}')
}

/// `text` with characters that are [unprintable](is_unprintable) as `\xNN` or `\u{NNNN}`.
fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        let _ = match c {
            c if !is_unprintable(c) => clean.write_char(c),
            '\0'..='\u{ff}' => write!(clean, "\\x{:02x}", u32::from(c)),
            _ => write!(clean, "{}", c.escape_unicode()),
        };
    }
    clean
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

#[cfg(test)]
mod tests {
    use super::{ShortDuration, WINDOW, Window, needs_escaping, printable, shortened};
    use std::time::{Duration, Instant};

    #[test]
    fn a_guest_cannot_forge_a_line_or_drive_a_terminal() {
        assert_eq!(
            printable("a\nb\x1b[2Jc\td\u{85}\u{202e}\u{2028}µ→"),
            "a\\x0ab\\x1b[2Jc\td\\x85\\u{202e}\\u{2028}µ→"
        );
        for c in ('\0'..='\u{3000}').filter(|c| *c != '\t') {
            let is_marked = printable(&c.to_string()).starts_with('\\') && c != '\\';
            assert!(is_marked || !c.is_control(), "{c:?}");
            let line = format!("a{c}");
            assert_eq!(needs_escaping(&line), is_marked, "{c:?}");
            assert_eq!(needs_escaping(&format!("{line}b")), is_marked, "{c:?}");
            let long = format!("{}{c}{}", "µ".repeat(20), "-".repeat(20));
            assert_eq!(needs_escaping(&long), is_marked, "{c:?}");
        }
    }

    #[test]
    fn what_is_long_is_cut_between_characters_and_not_put_together_first() {
        assert_eq!(shortened("µµ", 4), "µµ");
        assert_eq!(shortened("µµ", 3), "µ…");
        assert_eq!(shortened("", 0), "");
        struct Endless;
        impl std::fmt::Display for Endless {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                loop {
                    f.write_str("again ")?;
                }
            }
        }
        assert_eq!(shortened(Endless, 8), "again ag…");
    }

    #[test]
    fn a_window_that_is_full_is_empty_again_when_its_time_is_over() {
        let (mut window, now) = (Window::default(), Instant::now());
        let taken = |window: &mut Window, now| (0..9).filter(|_| window.take(3, now)).count();
        assert_eq!(taken(&mut window, now), 3);
        assert_eq!(taken(&mut window, now + WINDOW / 2), 0);
        assert_eq!(taken(&mut window, now + WINDOW), 3);
    }

    #[test]
    fn a_time_has_one_decimal_and_its_unit() {
        for (nanoseconds, text) in [
            (0, "0.0ns"),
            (999, "999.0ns"),
            (1_049, "1.0µs"),
            (1_050, "1.1µs"),
            (12_345_678, "12.3ms"),
            (61_500_000_000, "61.5s"),
        ] {
            let time = ShortDuration(Duration::from_nanos(nanoseconds));
            assert_eq!(time.to_string(), text);
        }
    }
}
