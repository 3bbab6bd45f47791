//! How a connection, a datagram or a request ended.

/// How a connection, a datagram or a request ended. One word for each, which the log (`WASM_SOCK_OUTCOME`), counters
/// and commands share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Outcome {
    /// The guest has ended by itself, with exit code 0; over HTTP: the answer was sent, whatever its status.
    Ok,
    /// The guest has ended with another exit code, or, over HTTP, before it answered.
    Exit,
    /// The guest trapped, or its answer was not valid.
    Trap,
    /// It took longer than `timeout`.
    Timeout,
    /// It used more than `cpu-time`.
    CpuTime,
    /// It needed more than `memory`, `table-elements` or `max-memory`, or had too many files and sockets open.
    Memory,
    /// No byte was received or sent for `idle-connection-timeout`.
    Idle,
    /// It sent more than `max-output`, or a datagram that is too long.
    Output,
    /// The client left before the end, or its answer could not be sent.
    ClientLeft,
    /// The handler has no module that can be used.
    NoModule,
    /// There were too many: of connections, of requests, or of one source.
    Refused,
    /// The client's mistake, which the host answered itself (400, 405, 408, 413, 431), or a datagram larger than
    /// `max-datagram`.
    BadRequest,
    /// The host exited (drain time-out, a second signal), and the connection was reset.
    Drained,
}

impl Outcome {
    /// All of them, in the order of their values: `ALL[outcome as usize]`.
    pub const ALL: [Self; 13] = [
        Self::Ok,
        Self::Exit,
        Self::Trap,
        Self::Timeout,
        Self::CpuTime,
        Self::Memory,
        Self::Idle,
        Self::Output,
        Self::ClientLeft,
        Self::NoModule,
        Self::Refused,
        Self::BadRequest,
        Self::Drained,
    ];

    /// The word for it, which never changes: queries and dashboards rely on it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Exit => "exit",
            Self::Trap => "trap",
            Self::Timeout => "timeout",
            Self::CpuTime => "cpu-time",
            Self::Memory => "memory",
            Self::Idle => "idle",
            Self::Output => "output",
            Self::ClientLeft => "client-left",
            Self::NoModule => "no-module",
            Self::Refused => "refused",
            Self::BadRequest => "bad-request",
            Self::Drained => "drained",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Outcome;
    use std::collections::BTreeSet;

    #[test]
    fn all_outcomes_are_listed_at_their_place_and_have_a_word_each() {
        for (place, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, place, "{outcome:?}");
        }
        let words: BTreeSet<&str> = Outcome::ALL.into_iter().map(Outcome::as_str).collect();
        assert_eq!(words.len(), Outcome::ALL.len());
    }
}
