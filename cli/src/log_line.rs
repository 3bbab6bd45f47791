//! The host's log as it writes it with `--log-format json`: one object a line.

use serde::{Deserialize, Deserializer};

/// A line of the host's log. All but the message depends on what it is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct LogLine {
    pub message: String,
    /// As in syslog(3): 3 is an error, 4 a warning, 6 information.
    pub priority: u8,
    /// The client, as the host names it.
    pub peer: Option<String>,
    /// `stderr`: a line that a guest wrote.
    pub stream: Option<String>,
    /// How a connection, datagram or request ended.
    pub outcome: Option<String>,
    #[serde(deserialize_with = "number")]
    pub exit_code: Option<i64>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Microseconds, as all times.
    pub duration_usec: u64,
    pub cpu_usec: u64,
    /// Bytes.
    pub memory_peak: u64,
    pub method: Option<String>,
    pub path: Option<String>,
    pub status: Option<u16>,
    /// The functions that a guest was in when it trapped, the innermost first.
    pub backtrace: Vec<Frame>,
}

/// A function of a backtrace.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Frame {
    /// Its name, where the module has names.
    pub function: Option<String>,
    /// Its number.
    pub index: u32,
    /// Where in the file of the module it was. Only artifacts with an address map tell.
    pub offset: Option<u64>,
}

/// A number, which the host writes as text where it can be negative.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let text = value.as_str().and_then(|text| text.parse().ok());
    Ok(text.or_else(|| value.as_i64()))
}

impl LogLine {
    /// Reads a line. What is no JSON is a message: the last words of a host that cannot start.
    pub fn parse(line: &str) -> Self {
        serde_json::from_str(line).unwrap_or_else(|_| Self {
            message: line.strip_prefix("wasm-sock: ").unwrap_or(line).to_owned(),
            priority: 3,
            ..Self::default()
        })
    }

    /// Whether a guest wrote it.
    pub fn is_guests(&self) -> bool {
        self.stream.as_deref() == Some("stderr")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_is_read_and_what_is_unknown_is_left_out() {
        let line = LogLine::parse(
            r#"{"time":1,"exit_code":"-1","message":"hello 127.0.0.1:5: ended: boom","priority":3,"outcome":"trap","cpu_usec":7,
               "backtrace":[{"function":"parse","index":3,"offset":400},{"index":4}]}"#,
        );
        assert_eq!((line.outcome.as_deref(), line.cpu_usec), (Some("trap"), 7));
        assert_eq!(line.exit_code, Some(-1));
        assert_eq!(line.backtrace[0].offset, Some(400));
        assert_eq!(line.backtrace[1].function, None);
    }

    #[test]
    fn what_is_no_json_is_a_message() {
        let line = LogLine::parse("wasm-sock: cannot start: no sockets");
        assert_eq!(line.message, "cannot start: no sockets");
        assert_eq!(line.priority, 3);
    }
}
