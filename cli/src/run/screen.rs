//! The host's log as a person reads it: on a terminal in colour and in its width, in a pipe as plain lines.

use super::amounts::{size, time};
use super::symbols::{self, Place};
use crate::log_line::LogLine;
use rustix::termios::tcgetwinsize;
use std::env;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Where lines go, and how they look.
pub struct Screen {
    began: Instant,
    /// Standard output is a guest's: lines go to standard error.
    to_stderr: bool,
    is_coloured: bool,
    /// Columns; `None`: as many as it takes.
    width: Option<usize>,
}

/// The colour of a text (ECMA-48, *Select graphic rendition*).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Colour {
    Dim = 2,
    Red = 31,
    Green = 32,
    Yellow = 33,
    Cyan = 36,
}

/// The most functions of a backtrace that are shown.
const MAX_PLACES: usize = 16;

/// The columns of a time, with the space after it.
const INDENT: usize = 10;

impl Screen {
    pub fn new(to_stderr: bool) -> Self {
        let is_terminal = match to_stderr {
            true => io::stderr().is_terminal(),
            false => io::stdout().is_terminal(),
        };
        let size = match to_stderr {
            true => tcgetwinsize(io::stderr()),
            false => tcgetwinsize(io::stdout()),
        };
        let width = size
            .ok()
            .map(|size| usize::from(size.ws_col))
            .filter(|columns| *columns > 0);
        Self {
            began: Instant::now(),
            to_stderr,
            // https://no-color.org
            is_coloured: is_terminal && env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            width: width.filter(|_| is_terminal),
        }
    }

    /// A line about what `run` itself does.
    pub fn say(&self, text: &str) {
        self.write(&format!("{}{text}\n", self.now()));
    }

    /// As [`Screen::say`], for what went wrong.
    pub fn complain(&self, text: &str) {
        self.write(&format!("{}{}\n", self.now(), self.painted(text, Colour::Red)));
    }

    /// A line of the host's log. `wasm` is the module, for names and lines.
    pub fn show(&self, line: &LogLine, wasm: &[u8]) {
        let text = match &line.outcome {
            Some(outcome) => self.record(line, outcome, wasm),
            None if line.is_guests() => {
                let peer = self.painted(line.peer.as_deref().unwrap_or("guest"), Colour::Cyan);
                format!("{}{peer} | {}\n", self.now(), about(line))
            }
            None if line.priority < 6 => {
                let colour = if line.priority < 4 { Colour::Red } else { Colour::Yellow };
                format!("{}{}\n", self.now(), self.painted(&line.message, colour))
            }
            None => format!("{}{}\n", self.now(), line.message),
        };
        self.write(&text);
    }

    fn record(&self, line: &LogLine, outcome: &str, wasm: &[u8]) -> String {
        let peer = line.peer.as_deref().unwrap_or("-");
        let (what, colour) = what(line, outcome);
        let usage = usage(line);
        let mut text = format!(
            "{}{} {}",
            self.now(),
            self.painted(peer, Colour::Cyan),
            self.painted(&what, colour)
        );
        let columns = INDENT + peer.chars().count() + 1 + what.chars().count();
        match self
            .width
            .is_some_and(|width| columns + 2 + usage.chars().count() > width)
        {
            true => text.push_str(&format!("\n{:INDENT$}", "")),
            false => text.push_str("  "),
        }
        text.push_str(&self.painted(&usage, Colour::Dim));
        text.push('\n');
        if outcome != "ok" && line.status.is_none_or(|status| status >= 500) {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{:INDENT$}{}", "", self.painted(reason(line), colour));
        }
        for place in shown(symbols::places(wasm, &line.backtrace)) {
            let function = self.painted(&place.function, Colour::Yellow);
            let source = place
                .source
                .map_or_else(String::new, |source| format!("\n{:INDENT$}     {source}", ""));
            let _ = writeln!(text, "{:INDENT$}  in {function}{source}", "");
        }
        text
    }

    /// Seconds since the start.
    fn now(&self) -> String {
        let now = format!("{:7.3}s", self.began.elapsed().as_secs_f64());
        format!("{:INDENT$}", self.painted(&now, Colour::Dim)) + if self.is_coloured { "  " } else { "" }
    }

    fn painted(&self, text: &str, colour: Colour) -> String {
        match self.is_coloured {
            true => format!("\x1b[{}m{text}\x1b[0m", colour as u8),
            false => text.to_owned(),
        }
    }

    /// That it cannot be written is no reason to end: the host serves on.
    fn write(&self, text: &str) {
        let _ = match self.to_stderr {
            true => io::stderr().write_all(text.as_bytes()),
            false => io::stdout().write_all(text.as_bytes()),
        };
    }
}

/// What happened, in a word or as the request with its status.
fn what(line: &LogLine, outcome: &str) -> (String, Colour) {
    let colour = match outcome {
        "ok" => Colour::Green,
        "exit" | "client-left" | "drained" | "refused" | "bad-request" => Colour::Yellow,
        _ => Colour::Red,
    };
    let request = line.method.as_deref().zip(line.path.as_deref());
    match (request, line.status) {
        (Some((method, path)), Some(status)) => {
            let colour = match status {
                400..500 if outcome == "ok" => Colour::Yellow,
                500.. => Colour::Red,
                _ => colour,
            };
            (format!("{status} {method} {path}"), colour)
        }
        (Some((method, path)), None) => (format!("{outcome} {method} {path}"), colour),
        (None, _) if outcome == "exit" => (format!("exit {}", line.exit_code.unwrap_or(1)), colour),
        (None, _) => (outcome.to_owned(), colour),
    }
}

fn usage(line: &LogLine) -> String {
    let mut parts = vec![
        format!("{} in", size(line.bytes_in)),
        format!("{} out", size(line.bytes_out)),
        time(Duration::from_micros(line.duration_usec)),
    ];
    if line.cpu_usec > 0 {
        parts.push(format!("CPU {}", time(Duration::from_micros(line.cpu_usec))));
    }
    if line.memory_peak > 0 {
        parts.push(size(line.memory_peak));
    }
    parts.join(", ")
}

/// The message without handler and client, which are said already.
fn about(line: &LogLine) -> &str {
    let peer = line.peer.as_deref().unwrap_or_default();
    let after = line.message.find(peer).map(|at| &line.message[at + peer.len()..]);
    match after.and_then(|rest| rest.strip_prefix(": ")) {
        Some(rest) if !peer.is_empty() => rest,
        _ => &line.message,
    }
}

/// Why it ended so, without the numbers, which are said already.
fn reason(line: &LogLine) -> &str {
    let reason = about(line);
    let reason = reason.strip_prefix("ended: ").unwrap_or(reason);
    match line.backtrace.is_empty() {
        true => reason,
        // The functions follow.
        false => reason.split(", in ").next().unwrap_or(reason),
    }
}

/// Without a language's own functions at both ends (how it panics, how it starts `main`), if there are others; not too
/// many.
fn shown(mut places: Vec<Place>) -> Vec<Place> {
    let is_own = |place: &Place| !place.is_standard;
    if let (Some(first), Some(last)) = (places.iter().position(is_own), places.iter().rposition(is_own)) {
        places.truncate(last + 1);
        places.drain(..first);
    }
    places.truncate(MAX_PLACES);
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen(width: Option<usize>, is_coloured: bool) -> Screen {
        Screen {
            began: Instant::now(),
            to_stderr: false,
            is_coloured,
            width,
        }
    }

    fn record(outcome: &str) -> LogLine {
        LogLine {
            message: "hello 127.0.0.1:51234: ended: unreachable, in parse called by main".to_owned(),
            peer: Some("127.0.0.1:51234".to_owned()),
            outcome: Some(outcome.to_owned()),
            bytes_in: 12,
            bytes_out: 2048,
            duration_usec: 1234,
            cpu_usec: 300,
            memory_peak: 1 << 20,
            ..LogLine::default()
        }
    }

    fn text(screen: &Screen, line: &LogLine) -> String {
        let text = screen.record(line, line.outcome.as_deref().unwrap(), &[]);
        // The first number is the time since the screen was made.
        let end = text.find('s').unwrap();
        format!("{}  *.***{}", &text[..end - 7], &text[end..])
    }

    #[test]
    fn a_record_is_one_line_and_on_a_narrow_terminal_two() {
        let plain = text(&screen(None, false), &record("ok"));
        let expected = "  *.***s  127.0.0.1:51234 ok  12 B in, 2.0 KiB out, 1.2 ms, CPU 300 µs, 1.0 MiB\n";
        assert_eq!(plain, expected);
        let narrow = text(&screen(Some(60), false), &record("ok"));
        assert_eq!(narrow.lines().count(), 2, "{narrow}");
        assert!(narrow.lines().all(|line| line.chars().count() <= 60), "{narrow}");
    }

    #[test]
    fn a_trap_has_its_reason_and_its_functions() {
        let mut line = record("trap");
        line.backtrace = vec![crate::log_line::Frame {
            function: Some("parse".to_owned()),
            ..Default::default()
        }];
        let lines = text(&screen(None, false), &line);
        let lines: Vec<&str> = lines.lines().map(str::trim_start).collect();
        assert_eq!(lines[1..], ["unreachable", "in parse"]);
    }

    #[test]
    fn a_request_is_shown_with_its_status() {
        let mut line = record("ok");
        (line.method, line.path) = (Some("GET".to_owned()), Some("/door".to_owned()));
        line.status = Some(404);
        let shown = text(&screen(None, false), &line);
        assert!(shown.contains("127.0.0.1:51234 404 GET /door  12 B in"), "{shown}");
        assert_eq!(shown.lines().count(), 1);
    }

    #[test]
    fn colour_does_not_change_the_text() {
        let mut coloured = text(&screen(None, true), &record("exit"));
        for colour in ["[2m", "[31m", "[32m", "[33m", "[36m", "[0m"] {
            coloured = coloured.replace(&format!("\x1b{colour}"), "");
        }
        assert_eq!(coloured, text(&screen(None, false), &record("exit")));
    }
}
