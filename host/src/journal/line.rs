//! A line of the log: its priority, what it is about, its message, and fields for queries.

use std::fmt::{self, Display};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The priority of a line: those of `syslog(3)` that the host uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Error = 3,
    Warning = 4,
    Info = 6,
}

/// One line.
pub struct Line<'a> {
    pub level: Level,
    pub about: About<'a>,
    /// What happened. In the log it follows the handler and the client.
    pub message: fmt::Arguments<'a>,
    /// More fields, where the log has fields.
    pub fields: &'a dyn Fields,
}

/// What a line is about: nothing (the host itself), a handler, or one of its clients.
#[derive(Clone, Copy, Default)]
pub struct About<'a> {
    pub handler: Option<&'a str>,
    /// The client's address.
    pub peer: Option<&'a dyn Display>,
    pub connection: Option<ConnectionId>,
    /// Over HTTP: which request of the connection, counted from 1.
    pub request: Option<u32>,
}

impl<'a> About<'a> {
    pub fn handler(handler: &'a str) -> Self {
        Self {
            handler: Some(handler),
            ..Self::default()
        }
    }
}

impl Display for About<'_> {
    /// As lines begin.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(handler) = self.handler else {
            return Ok(());
        };
        f.write_str(handler)?;
        if let Some(peer) = self.peer {
            f.write_str(" ")?;
            peer.fmt(f)?;
        }
        f.write_str(": ")
    }
}

/// Names a connection or a datagram in all lines about it: unique among all hosts, of all machines and boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionId(u64);

impl ConnectionId {
    /// The name of one more connection.
    pub fn next() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        Self(COUNT.fetch_add(1, Relaxed))
    }

    /// What the names of this process begin with: 96 random bits.
    fn process() -> &'static str {
        static PROCESS: OnceLock<String> = OnceLock::new();
        PROCESS.get_or_init(|| {
            let mut random = [0; 12];
            // It fails on no kernel that has Landlock; a name that is not unique harms no connection.
            let _ = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty());
            random.iter().map(|byte| format!("{byte:02x}")).collect()
        })
    }
}

impl Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::process())?;
        f.write_str("-")?;
        f.write_str(itoa::Buffer::new().format(self.0))
    }
}

/// A function of a guest's stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its name, if the module has names.
    pub function: Option<String>,
    /// Its index in the module.
    pub index: u32,
    /// Where in the module it was, in bytes, if the artifact says so.
    pub offset: Option<u64>,
}

impl Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.function {
            write!(f, "{name} ")?;
        }
        write!(f, "(function {})", self.index)?;
        match self.offset {
            Some(offset) => write!(f, " at {offset:#x}"),
            None => Ok(()),
        }
    }
}

/// The name of a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// In the journal (`journald`'s native protocol).
    pub journal: &'static str,
    /// In a line of JSON.
    pub json: &'static str,
}

/// Fields of a line beyond those of every line.
pub trait Fields {
    fn write(&self, to: &mut dyn FieldWriter);
}

impl Fields for () {
    fn write(&self, _: &mut dyn FieldWriter) {}
}

/// A format that has fields.
pub trait FieldWriter {
    fn number(&mut self, field: Field, value: u64);
    fn text(&mut self, field: Field, value: &dyn Display);
    fn frames(&mut self, field: Field, frames: &[Frame]);
}

#[cfg(test)]
mod tests {
    use super::{About, ConnectionId, Frame};

    #[test]
    fn no_two_connections_have_one_name() {
        let (first, second) = (ConnectionId::next().to_string(), ConnectionId::next().to_string());
        let (process, number) = first.split_once('-').unwrap();
        assert_eq!(process.len(), 24);
        assert_eq!(second.split_once('-').unwrap().0, process);
        assert_ne!(second.split_once('-').unwrap().1, number);
    }

    #[test]
    fn a_line_begins_with_the_handler_and_the_client() {
        let about = About {
            peer: Some(&"192.0.2.7:51234"),
            ..About::handler("hello")
        };
        assert_eq!(about.to_string(), "hello 192.0.2.7:51234: ");
        assert_eq!(About::handler("hello").to_string(), "hello: ");
        assert_eq!(About::default().to_string(), "");
    }

    #[test]
    fn a_frame_tells_what_is_known_of_it() {
        let mut frame = Frame {
            function: Some("parse".into()),
            index: 12,
            offset: Some(0x1f3),
        };
        assert_eq!(frame.to_string(), "parse (function 12) at 0x1f3");
        (frame.function, frame.offset) = (None, None);
        assert_eq!(frame.to_string(), "(function 12)");
    }
}
