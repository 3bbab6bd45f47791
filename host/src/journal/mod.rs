//! Logging: one line for each event, with its fields where the log has them: to journald, standard error or syslog;
//! with buffering, rate limits and escaping of control characters (log injection).
//!
//! | file | what |
//! |---|---|
//! | [`line`], [`field`] | a line: priority, what it is about, message; the names of its fields |
//! | [`text`] | text of clients and guests: cut, escaped; durations |
//! | [`native`], [`json`] | a line with fields: for journald, and as JSON |
//! | [`output`] | where lines go, and the buffer before that |
//! | [`socket`], [`queue`] | journald's socket, and the lines that it has no room for |
//! | [`rate`] | warnings that may come very often |

pub mod field;
mod json;
mod line;
mod native;
mod output;
mod queue;
mod rate;
mod socket;
mod text;

pub use line::{About, ConnectionId, FieldWriter, Fields, Frame, Level, Line};
pub use output::{Format, buffer, finish, flush, open, retry, use_syslog, write};
pub use rate::{RateLimited, Suppressed, Window};
pub use text::{ShortDuration, shortened, write_some};

use std::fmt::Display;

/// Logs one line about the host itself.
pub fn log(level: Level, message: impl Display) {
    log_about(level, About::default(), message);
}

/// Logs one line about a handler.
pub fn log_handler(level: Level, handler: &str, message: impl Display) {
    log_about(level, About::handler(handler), message);
}

/// Logs one line about a handler, a client, or a connection.
pub fn log_about(level: Level, about: About<'_>, message: impl Display) {
    write(&Line {
        level,
        about,
        message: format_args!("{message}"),
        fields: &(),
    });
}
