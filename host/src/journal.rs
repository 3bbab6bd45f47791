//! What the host and its guests have to say: one line each, on standard error.
//!
//! Under systemd, standard error is the journal, and a line's level is its prefix
//! (`sd-daemon(3)`, `SyslogLevelPrefix=`). Elsewhere it is a terminal or a file: no prefix.

use crate::sync::lock;
use nix::syslog::{self, Facility, LogFlags, Severity};
use std::fmt::{self, Display, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

/// How bad it is: the syslog levels (`syslog(3)`) we use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error = 3,
    Warning = 4,
    Info = 6,
}

/// A time with one decimal, in the unit that suits it, as [`Duration`] shows it for several times the price.
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

/// Writes one line about the host itself.
pub fn log(level: Level, message: impl Display) {
    write_line(level, format_args!("{message}"));
}

/// Writes one line about a handler.
pub fn log_handler(level: Level, handler: &str, message: impl Display) {
    write_line(level, format_args!("{handler}: {message}"));
}

/// Writes one line about a handler's connection with `peer`.
pub fn log_connection(level: Level, handler: &str, peer: impl Display, message: impl Display) {
    write_line(level, format_args!("{handler} {peer}: {message}"));
}

/// How long a [`Window`] is open.
const WINDOW: Duration = Duration::from_secs(10);

/// Lines that were logged since it was opened.
#[derive(Default)]
pub struct Window {
    opened: Option<Instant>,
    lines: u32,
}

impl Window {
    /// May one more line be logged, where `most` may while it is open?
    pub fn take(&mut self, most: u32, now: Instant) -> bool {
        let is_open = |opened: Instant| now.saturating_duration_since(opened) < WINDOW;
        if !self.opened.is_some_and(is_open) {
            self.opened = Some(now);
            self.lines = 0;
        }
        let is_left = self.lines < most;
        self.lines += u32::from(is_left);
        is_left
    }
}

/// Says what may happen very often, but not each time.
#[derive(Default)]
pub struct RateLimited(Mutex<ReportState>);

#[derive(Default)]
struct ReportState {
    window: Window,
    /// How often it happened since, and nothing was said.
    unsaid: u64,
}

/// Lines of one [`RateLimited`] in a [`Window`].
const A_FEW: u32 = 5;

impl RateLimited {
    /// A warning about a handler, or one of its connections, unless there were some just now.
    pub fn warn(&self, who: impl Display, message: impl Display) {
        let mut said = lock(&self.0);
        if !said.window.take(A_FEW, Instant::now()) {
            said.unsaid += 1;
            return;
        }
        let unsaid = std::mem::take(&mut said.unsaid);
        drop(said);
        if unsaid == 0 {
            log(Level::Warning, format_args!("{who}: {message}"));
        } else {
            let more = format_args!("{unsaid} more since this was last said");
            log(Level::Warning, format_args!("{who}: {message}; {more}"));
        }
    }
}

/// The longest message, in bytes; what is more of it is not even put together. journald would split a line at
/// 48 KiB (`LineMax=`), and take the beginning of the rest for a priority.
const MESSAGE: usize = 4096;

/// The beginning of `text`, and a sign where more of it would be: for words of clients and guests.
pub fn shortened(text: impl Display, most: usize) -> String {
    let mut short = String::new();
    write_some(&mut short, text, most);
    short
}

/// Adds `text` to `to`, shortened.
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
            // What is formatted gives up.
            if end < text.len() { Err(fmt::Error) } else { Ok(()) }
        }
    }
    let mut beginning = Beginning { to, left: most };
    if write!(beginning, "{text}").is_err() {
        to.push('…');
    }
}

/// The whole line in one `write`, so that lines of the guests' never mix.
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
    write_some(&mut line, message, MESSAGE);
    if may_deceive(&line[start..]) {
        // Which is longer.
        let clean = printable(&line[start..]);
        line.truncate(start);
        write_some(&mut line, &clean, MESSAGE);
    }
    line.push('\n');
    let mut waiting = waiting();
    waiting.push_str(&line);
    let is_urgent = level != Level::Info || waiting.len() > ENOUGH;
    drop(waiting);
    if is_urgent || !BUFFERED.load(Relaxed) {
        flush();
    }
}

/// Lines that are to be written: several in one `write`, while there is a lot to do.
static WAITING: Mutex<String> = Mutex::new(String::new());

/// How many bytes of them wait at most.
const ENOUGH: usize = 16 * 1024;

/// Does somebody call [`flush`]?
static BUFFERED: AtomicBool = AtomicBool::new(false);

/// Lets lines of [`Level::Info`] wait for [`flush`] from here on.
pub fn buffer() {
    BUFFERED.store(true, Relaxed);
}

/// Writes the lines that wait.
pub fn flush() {
    // Other threads add lines while these are written.
    let mut lines = std::mem::take(&mut *waiting());
    if lines.is_empty() {
        return;
    }
    // A log that cannot be written has nowhere to be reported.
    let _ = std::io::stderr().write_all(lines.as_bytes());
    lines.clear();
    let mut waiting = waiting();
    if waiting.capacity() == 0 {
        *waiting = lines;
    }
}

fn waiting() -> MutexGuard<'static, String> {
    lock(&WAITING)
}

/// Is the log syslog's, because standard error is the client's?
static SYSLOG: AtomicBool = AtomicBool::new(false);

/// Logs to syslog from here on: programs that inetd starts have no standard error of their own.
pub fn use_syslog() {
    // LOG_NDELAY connects now: a process that has confined itself makes no sockets.
    let options = LogFlags::LOG_PID | LogFlags::LOG_NDELAY;
    // It fails only for a name that is too long.
    let _ = syslog::openlog(Some(c"wasm-sock"), options, Facility::LOG_DAEMON);
    SYSLOG.store(true, Relaxed);
}

fn write_syslog(level: Level, message: std::fmt::Arguments<'_>) {
    let text = shortened(printable(&shortened(message, MESSAGE)), MESSAGE);
    let severity = match level {
        Level::Error => Severity::LOG_ERR,
        Level::Warning => Severity::LOG_WARNING,
        Level::Info => Severity::LOG_INFO,
    };
    // It fails only for a text with a zero in it, which `printable` leaves none.
    let _ = syslog::syslog(severity, &text);
}

/// Is there a character that [`printable`] shows as its number?
fn may_deceive(text: &str) -> bool {
    let bytes = text.as_bytes();
    // Each line is looked at, sixteen bytes at a time: few have a byte that may be part of one.
    let may_be = |byte: &u8| *byte < b' ' || (0x7f..=0x9f).contains(byte);
    let (chunks, rest) = bytes.as_chunks::<16>();
    let is_suspect = |chunk: &[u8; 16]| chunk.iter().fold(false, |any, byte| any | may_be(byte));
    (chunks.iter().any(is_suspect) || rest.iter().any(may_be)) && text.chars().any(deceives)
}

/// Control characters (but tab), and those that end a line elsewhere or turn its direction around
/// (Unicode's UAX 9): a guest's line can neither forge a second one, nor drive the terminal that it is read
/// on, nor show a text that is not there.
fn deceives(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\t') || turns || matches!(c, '\u{2028}' | '\u{2029}')
}

/// What [`deceives`] as `\xNN` or `\u{NNNN}`.
fn printable(text: &str) -> String {
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        let _ = match c {
            c if !deceives(c) => clean.write_char(c),
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
    use super::{ShortDuration, WINDOW, Window, may_deceive, printable, shortened};
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
            assert_eq!(may_deceive(&line), is_marked, "{c:?}");
            assert_eq!(may_deceive(&format!("{line}b")), is_marked, "{c:?}");
            let long = format!("{}{c}{}", "µ".repeat(20), "-".repeat(20));
            assert_eq!(may_deceive(&long), is_marked, "{c:?}");
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
