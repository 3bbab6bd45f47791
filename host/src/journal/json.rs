//! Lines of JSON, one object each, for programs that read the host's standard error (`--log-format json`).

use super::field;
use super::line::{Field, FieldWriter, Frame, Line};
use super::text::printable;
use std::fmt::{self, Display, Write as _};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Appends a line; `message` is its message with what it is about. `now` is the time that it gets.
pub fn encode(to: &mut String, line: &Line<'_>, message: &str, now: SystemTime) {
    let time = now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    // Writing to a string does not fail.
    let _ = write!(to, "{{\"time\":{},\"priority\":{}", time.as_micros(), line.level as u8);
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
    to.push_str(",\"message\":");
    string(to, &message);
    to.push_str("}\n");
}

struct Writer<'a>(&'a mut String);

impl Writer<'_> {
    fn begin(&mut self, field: Field) {
        let _ = write!(self.0, ",\"{}\":", field.json);
    }
}

impl FieldWriter for Writer<'_> {
    fn number(&mut self, field: Field, value: u64) {
        self.begin(field);
        self.0.push_str(itoa::Buffer::new().format(value));
    }

    fn text(&mut self, field: Field, value: &dyn Display) {
        self.begin(field);
        string(self.0, value);
    }

    fn frames(&mut self, field: Field, frames: &[Frame]) {
        self.begin(field);
        let mut before = '[';
        for frame in frames {
            let _ = write!(self.0, "{before}{{\"index\":{}", frame.index);
            if let Some(name) = &frame.function {
                self.0.push_str(",\"function\":");
                string(self.0, name);
            }
            if let Some(offset) = frame.offset {
                let _ = write!(self.0, ",\"offset\":{offset}");
            }
            self.0.push('}');
            before = ',';
        }
        self.0.push(']');
    }
}

/// Appends a string (RFC 8259, 7). Characters that are not printable are escaped as in all other formats, as text: the
/// reader will show it to a person.
fn string(to: &mut String, value: &dyn Display) {
    struct Escaped<'a>(&'a mut String);
    impl fmt::Write for Escaped<'_> {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            for c in printable(text).chars() {
                match c {
                    '"' | '\\' => self.0.extend(['\\', c]),
                    '\t' => self.0.push_str("\\t"),
                    c => self.0.push(c),
                }
            }
            Ok(())
        }
    }
    to.push('"');
    let _ = write!(Escaped(to), "{value}");
    to.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::line::{About, Fields, Level};

    struct Hostile;

    impl Fields for Hostile {
        fn write(&self, to: &mut dyn FieldWriter) {
            to.text(field::PATH, &"/\"},{\u{7f}\n");
            to.number(field::STATUS, 200);
            let frame = |function: Option<&str>, offset| Frame {
                function: function.map(str::to_owned),
                index: 7,
                offset,
            };
            let frames = [frame(Some("a\"b"), None), frame(None, Some(12))];
            to.frames(field::BACKTRACE, &frames);
        }
    }

    #[test]
    fn a_line_is_one_object_whatever_a_guest_has_written() {
        let line = Line {
            level: Level::Info,
            about: About {
                peer: Some(&"192.0.2.7:1"),
                request: Some(2),
                ..About::handler("hello")
            },
            message: format_args!(""),
            fields: &Hostile,
        };
        let mut text = String::new();
        let now = UNIX_EPOCH + Duration::from_micros(1_234_567);
        encode(&mut text, &line, "a\tb\\x0a \"c\"", now);
        let expected = concat!(
            r#"{"time":1234567,"priority":6,"handler":"hello","peer":"192.0.2.7:1","request":2,"#,
            r#""path":"/\"},{\\x7f\\x0a","status":200,"#,
            r#""backtrace":[{"index":7,"function":"a\"b"},{"index":7,"offset":12}],"#,
            r#""message":"a\tb\\x0a \"c\""}"#,
            "\n"
        );
        assert_eq!(text, expected);
    }
}
