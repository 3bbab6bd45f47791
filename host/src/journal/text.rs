//! Text for the log: durations; text of clients and guests, which is cut, and escaped.

use std::fmt::{self, Display, Write as _};
use std::time::Duration;

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

/// The longest message, in bytes; the rest of it is not even formatted. journald would split a line at
/// 48 KiB (`LineMax=`), and take the beginning of the rest for a priority.
pub const MAX_MESSAGE: usize = 4096;

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

/// One line of text, at most [`MAX_MESSAGE`] bytes, without control characters.
pub fn single_line(text: impl Display) -> String {
    let mut line = String::with_capacity(160);
    write_some(&mut line, text, MAX_MESSAGE);
    match needs_escaping(&line) {
        // Escaped text is longer, so it is cut again.
        true => shortened(printable(&line), MAX_MESSAGE),
        false => line,
    }
}

/// Is there a character that [`printable`] escapes?
pub fn needs_escaping(text: &str) -> bool {
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
pub fn printable(text: &str) -> String {
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

#[cfg(test)]
mod tests {
    use super::{MAX_MESSAGE, ShortDuration, needs_escaping, printable, shortened, single_line};
    use std::time::Duration;

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

    #[test]
    fn a_line_stays_one_and_within_its_length_when_it_is_escaped() {
        assert_eq!(single_line("a\nPRIORITY=0"), "a\\x0aPRIORITY=0");
        let line = single_line("\u{202e}".repeat(MAX_MESSAGE));
        assert!(line.len() <= MAX_MESSAGE + '…'.len_utf8(), "{}", line.len());
        assert!(line.ends_with('…') && !needs_escaping(&line));
    }
}
