//! The native protocol of journald: entries with fields
//! (<https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>).

use super::field;
use super::line::{Field, FieldWriter, Frame, Line};
use super::text::{needs_escaping, printable};
use std::fmt::{self, Display, Write as _};
use std::str;

/// Fields that do not change. The facility is `daemon`, which systemd gives lines on standard error, too.
const CONSTANT: &[u8] = b"SYSLOG_IDENTIFIER=wasm-sock\nSYSLOG_FACILITY=3\nPRIORITY=";

/// Appends the entry of a line, with the empty line that ends it; `message` is its message with what it is about, on one line.
pub fn encode(to: &mut Vec<u8>, line: &Line<'_>, message: &str) {
    to.extend_from_slice(CONSTANT);
    to.push(b'0' + line.level as u8);
    to.extend_from_slice(b"\nMESSAGE=");
    to.extend_from_slice(message.as_bytes());
    to.push(b'\n');
    let mut writer = Writer(to);
    let about = &line.about;
    if let Some(handler) = about.handler {
        writer.text(field::HANDLER, &handler);
    }
    if let Some(peer) = about.peer {
        writer.text(field::PEER, peer);
    }
    if let Some(connection) = about.connection {
        writer.text(field::CONNECTION, &connection);
    }
    if let Some(request) = about.request {
        writer.number(field::REQUEST, request.into());
    }
    line.fields.write(&mut writer);
    // Ends the entry.
    to.push(b'\n');
}

struct Writer<'a>(&'a mut Vec<u8>);

impl fmt::Write for Writer<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Writer<'_> {
    fn begin(&mut self, field: Field) {
        self.0.extend_from_slice(field.journal.as_bytes());
        self.0.push(b'=');
    }
}

impl FieldWriter for Writer<'_> {
    fn number(&mut self, field: Field, value: u64) {
        self.begin(field);
        self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self.0.push(b'\n');
    }

    fn text(&mut self, field: Field, value: &dyn Display) {
        self.begin(field);
        let start = self.0.len();
        let _ = write!(self, "{value}");
        // A newline would end the value, and what follows it would be a field.
        let written = str::from_utf8(&self.0[start..]).unwrap_or_default();
        if needs_escaping(written) {
            let clean = printable(written);
            self.0.truncate(start);
            self.0.extend_from_slice(clean.as_bytes());
        }
        self.0.push(b'\n');
    }

    /// A line for each, so the value has its length before it, and not a newline after it.
    fn frames(&mut self, field: Field, frames: &[Frame]) {
        let mut lines = String::new();
        for (number, frame) in frames.iter().enumerate() {
            let end = if number == 0 { "" } else { "\n" };
            let _ = write!(lines, "{end}#{number} {}", printable(&frame.to_string()));
        }
        self.0.extend_from_slice(field.journal.as_bytes());
        self.0.push(b'\n');
        self.0.extend_from_slice(&(lines.len() as u64).to_le_bytes());
        self.0.extend_from_slice(lines.as_bytes());
        self.0.push(b'\n');
    }
}

/// The beginning of a datagram, at most `most` bytes: whole fields, and the beginning of the first one that does not
/// fit, if its value is a line.
pub fn shortened(datagram: &[u8], most: usize) -> Vec<u8> {
    let mut short = datagram.to_vec();
    let mut end = 0;
    while let Some(length) = datagram.get(end..).and_then(field_length) {
        if end + length > most {
            let is_line = datagram[end..].iter().position(|byte| matches!(byte, b'=' | b'\n'));
            let is_line = is_line.is_some_and(|at| datagram[end + at] == b'=' && end + at + 1 < most);
            short.truncate(if is_line { most - 1 } else { end });
            if is_line {
                short.push(b'\n');
            }
            return short;
        }
        end += length;
    }
    short.truncate(end);
    short
}

/// The length of the first field of `fields`, with its newline. `None`: there is none.
fn field_length(fields: &[u8]) -> Option<usize> {
    let name = fields.iter().position(|byte| matches!(byte, b'=' | b'\n'))?;
    if fields[name] == b'=' {
        return Some(name + 1 + fields[name + 1..].iter().position(|byte| *byte == b'\n')? + 1);
    }
    let (size, _) = fields[name + 1..].split_first_chunk()?;
    Some(name + 1 + 8 + usize::try_from(u64::from_le_bytes(*size)).ok()? + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::line::{About, ConnectionId, Fields, Level};
    use std::collections::BTreeMap;

    struct Hostile;

    impl Fields for Hostile {
        fn write(&self, to: &mut dyn FieldWriter) {
            to.text(field::PATH, &"/\nPRIORITY=0\n");
            to.number(field::BYTES_IN, u64::MAX);
            let frame = |name: &str, index| Frame {
                function: Some(name.into()),
                index,
                offset: None,
            };
            to.frames(field::BACKTRACE, &[frame("a\nPRIORITY=0", 1), frame("b", 2)]);
        }
    }

    fn datagram(message: &str) -> Vec<u8> {
        let line = Line {
            level: Level::Warning,
            about: About {
                peer: Some(&"uid 0\nPRIORITY=0"),
                connection: Some(ConnectionId::next()),
                request: Some(3),
                ..About::handler("hello")
            },
            message: format_args!(""),
            fields: &Hostile,
        };
        let mut datagram = Vec::new();
        encode(&mut datagram, &line, message);
        assert_eq!(datagram.pop(), Some(b'\n'), "the end of the entry");
        datagram
    }

    /// As journald reads it. A field that is there twice is an error.
    fn decoded(mut rest: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while !rest.is_empty() {
            let length = field_length(rest).expect("a whole field");
            let (field, after) = rest.split_at(length);
            let name = field.iter().position(|byte| matches!(byte, b'=' | b'\n')).unwrap();
            let start = if field[name] == b'=' { name + 1 } else { name + 9 };
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            assert_eq!(field.last(), Some(&b'\n'));
            let before = fields.insert(text(&field[..name]), text(&field[start..length - 1]));
            assert_eq!(before, None);
            rest = after;
        }
        fields
    }

    #[test]
    fn text_of_a_guest_or_a_client_is_one_value_and_never_a_field() {
        let fields = decoded(&datagram("hello: fine"));
        let value = |name: &str| fields[name].as_str();
        assert_eq!(value("PRIORITY"), "4");
        assert_eq!(value("MESSAGE"), "hello: fine");
        assert_eq!(value("WASM_SOCK_HANDLER"), "hello");
        assert_eq!(value("WASM_SOCK_PEER"), "uid 0\\x0aPRIORITY=0");
        assert_eq!(value("WASM_SOCK_REQUEST"), "3");
        assert_eq!(value("WASM_SOCK_PATH"), "/\\x0aPRIORITY=0\\x0a");
        assert_eq!(value("WASM_SOCK_BYTES_IN"), u64::MAX.to_string());
        let backtrace = "#0 a\\x0aPRIORITY=0 (function 1)\n#1 b (function 2)";
        assert_eq!(value("WASM_SOCK_BACKTRACE"), backtrace);
    }

    #[test]
    fn a_datagram_that_is_cut_has_whole_fields_and_what_fits_of_the_message() {
        let whole = datagram(&"m".repeat(1000));
        let all = decoded(&whole);
        for most in 80..whole.len() {
            let short = shortened(&whole, most);
            assert!(short.len() <= most, "{} of {most}", short.len());
            for (name, value) in decoded(&short) {
                assert!(all[&name].starts_with(&value), "{name}");
            }
        }
        assert_eq!(
            decoded(&shortened(&whole, 500))["MESSAGE"].len(),
            500 - 9 - CONSTANT.len() - 2
        );
        assert_eq!(shortened(&whole, whole.len()), whole);
    }
}
