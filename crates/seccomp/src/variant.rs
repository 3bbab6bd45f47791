//! Which lists a process needs.

use crate::lists::{ALWAYS, COMPILE, CONNECT, Call, RESOLVE};

/// A filter, by what its process is going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Serve handlers without `allow-outbound`. No socket is made.
    Serve,
    /// Serve handlers of which some connect to addresses.
    Connect,
    /// Serve handlers of which some connect to names, which are resolved by UDP.
    Resolve,
    /// Become the compiler of modules by execve(2), which inherits the filter.
    Compile,
}

impl Variant {
    /// Each of them stands at its own value as a number: `ALL[variant as usize] == variant`.
    pub const ALL: [Self; 4] = [Self::Serve, Self::Connect, Self::Resolve, Self::Compile];

    /// The smallest filter for a host that serves: do its handlers connect to anything, and to names?
    pub fn to_serve(connects: bool, resolves: bool) -> Self {
        match (connects, resolves) {
            (false, _) => Self::Serve,
            (true, false) => Self::Connect,
            (true, true) => Self::Resolve,
        }
    }

    /// What it allows: [`ALWAYS`] first, and what comes on top. No call is in two of them.
    pub fn lists(self) -> &'static [&'static [Call]] {
        match self {
            Self::Serve => &[ALWAYS],
            Self::Connect => &[ALWAYS, CONNECT],
            Self::Resolve => &[ALWAYS, RESOLVE],
            Self::Compile => &[ALWAYS, COMPILE],
        }
    }
}
