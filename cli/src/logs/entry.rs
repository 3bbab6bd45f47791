//! A record of the journal about a handler.

use crate::columns::{Color, Screen};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// What the fields of the host begin with.
const PREFIX: &str = "WASM_SOCK_";

/// Fields that are numbers.
const NUMBERS: [&str; 9] = [
    "bytes_in",
    "bytes_out",
    "duration_usec",
    "first_byte_usec",
    "cpu_usec",
    "memory_peak",
    "status",
    "exit_code",
    "request",
];

/// A record: its fields, as `journalctl -o json` prints them.
pub struct Entry(Map<String, Value>);

impl Entry {
    /// `None`: it is no JSON object.
    pub fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line).ok().map(Self)
    }

    /// A field as text. The journal has fields that are no UTF-8 as arrays of bytes, and lists of values.
    fn field(&self, name: &str) -> Option<Cow<'_, str>> {
        match self.0.get(name)? {
            Value::String(text) => Some(text.into()),
            Value::Array(bytes) => {
                let bytes = bytes
                    .iter()
                    .map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok()));
                let bytes: Vec<u8> = bytes.collect::<Option<_>>()?;
                Some(String::from_utf8_lossy(&bytes).into_owned().into())
            }
            _ => None,
        }
    }

    /// Where it is in the journal.
    pub fn cursor(&self) -> Option<&str> {
        self.0.get("__CURSOR")?.as_str()
    }

    /// Was it logged by a service of a user's own manager?
    pub fn is_of_user(&self) -> bool {
        self.0.contains_key("_SYSTEMD_USER_UNIT")
    }

    /// Is it about a client with this address, with or without a port?
    pub fn is_from(&self, address: &str) -> bool {
        let Some(peer) = self.field("WASM_SOCK_PEER") else {
            return false;
        };
        let bare = address.trim_start_matches('[').trim_end_matches(']');
        let host = match peer.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && peer.contains('.') => host,
            Some((host, _)) if host.starts_with('[') => host.trim_start_matches('[').trim_end_matches(']'),
            _ => &*peer,
        };
        peer == address || host == bare
    }

    /// Microseconds since 1970.
    fn time(&self) -> u64 {
        let parsed = self.field("__REALTIME_TIMESTAMP").and_then(|time| time.parse().ok());
        parsed.unwrap_or_default()
    }

    /// `syslog(3)`: 3 error, 4 warning, 6 information.
    fn priority(&self) -> u8 {
        self.field("PRIORITY")
            .and_then(|priority| priority.parse().ok())
            .unwrap_or(6)
    }

    /// A line for people: when, from whom, what.
    pub fn text(&self, screen: Screen) -> String {
        let message = self.field("MESSAGE").unwrap_or_default();
        let handler = self.field("WASM_SOCK_HANDLER").unwrap_or_default();
        // The name of the handler is what was asked for.
        let short = message.strip_prefix(&*handler).unwrap_or(&message);
        let short = printable(short.trim_start_matches([' ', ':']));
        let color = match self.priority() {
            0..=3 => Color::Red,
            4 => Color::Yellow,
            _ => Color::None,
        };
        let time = screen.paint(Color::Faint, &local_time(self.time()));
        format!("{time} {}", screen.paint(color, &short))
    }

    /// The record as JSON, with the names of `wasm-sock host --log-format json`.
    pub fn json(&self) -> Value {
        let mut fields = Map::new();
        fields.insert("time".to_owned(), self.time().into());
        fields.insert("priority".to_owned(), self.priority().into());
        fields.insert("message".to_owned(), self.field("MESSAGE").unwrap_or_default().into());
        for name in self.0.keys().filter(|name| name.starts_with(PREFIX)) {
            let short = name[PREFIX.len()..].to_lowercase();
            let Some(text) = self.field(name) else {
                continue;
            };
            let is_number = NUMBERS.contains(&short.as_str());
            let number = text.parse::<i64>().ok().filter(|_| is_number).map(Value::from);
            let list = || serde_json::from_str(&text).ok().filter(|_| short == "backtrace");
            let value = number.or_else(list).unwrap_or_else(|| text.into());
            fields.insert(short, value);
        }
        Value::Object(fields)
    }
}

/// `text` without what controls a terminal: other programs may log with our field, too.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() && c != '\t' { '\u{fffd}' } else { c })
        .collect()
}

/// The local time, as `2026-11-28 20:45:37`.
fn local_time(microseconds: u64) -> String {
    // Its type has 64 bits, whatever its name.
    let seconds = (microseconds / 1_000_000) as _;
    // SAFETY: both are valid for the call, which writes the second.
    let time = unsafe {
        let mut time: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const seconds, &raw mut time);
        time
    };
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        time.tm_year + 1900,
        time.tm_mon + 1,
        time.tm_mday,
        time.tm_hour,
        time.tm_min,
        time.tm_sec
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let line = br#"{"__REALTIME_TIMESTAMP":"1764362737000001","MESSAGE":"hello 192.0.2.7:4711: served (1.2ms, 10 bytes in, 20 out)","PRIORITY":"6","WASM_SOCK_HANDLER":"hello","WASM_SOCK_PEER":"192.0.2.7:4711","WASM_SOCK_OUTCOME":"ok","WASM_SOCK_BYTES_IN":"10","WASM_SOCK_BACKTRACE":"[{\"index\":3}]","_PID":"5"}"#;
        Entry::parse(line).unwrap()
    }

    #[test]
    fn a_line_has_the_time_the_client_and_what_happened() {
        let screen = Screen {
            width: None,
            has_colors: false,
        };
        let text = entry().text(screen);
        assert!(
            text.ends_with(" 192.0.2.7:4711: served (1.2ms, 10 bytes in, 20 out)"),
            "{text}"
        );
        assert_eq!(text.split(' ').next().unwrap().len(), "2025-11-28".len());
    }

    #[test]
    fn json_has_the_names_of_the_hosts_own_format() {
        let expected = serde_json::json!({
            "time": 1_764_362_737_000_001_u64,
            "priority": 6,
            "message": "hello 192.0.2.7:4711: served (1.2ms, 10 bytes in, 20 out)",
            "handler": "hello",
            "peer": "192.0.2.7:4711",
            "outcome": "ok",
            "bytes_in": 10,
            "backtrace": [{"index": 3}],
        });
        assert_eq!(entry().json(), expected);
    }

    #[test]
    fn a_client_is_found_by_its_address_with_or_without_a_port() {
        let from = |peer: &str, address: &str| {
            let line = serde_json::json!({ "WASM_SOCK_PEER": peer }).to_string();
            Entry::parse(line.as_bytes()).unwrap().is_from(address)
        };
        for (peer, address) in [
            ("192.0.2.7:4711", "192.0.2.7"),
            ("192.0.2.7:4711", "192.0.2.7:4711"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("[2001:db8::1]:80", "[2001:db8::1]"),
            ("uid 1000", "uid 1000"),
        ] {
            assert!(from(peer, address), "{peer} {address}");
        }
        assert!(!from("192.0.2.77:4711", "192.0.2.7"));
        assert!(!from("[2001:db8::1]:80", "2001:db8::"));
    }

    #[test]
    fn bytes_that_are_no_text_and_control_characters_do_no_harm() {
        let line = br#"{"MESSAGE":[104,255,27,91],"PRIORITY":"3"}"#;
        let screen = Screen {
            width: Some(80),
            has_colors: false,
        };
        assert!(Entry::parse(line).unwrap().text(screen).ends_with("h\u{fffd}\u{fffd}["));
    }
}
