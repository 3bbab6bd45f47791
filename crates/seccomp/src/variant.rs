//! Which lists a process needs.

use crate::lists::{ALWAYS, CLOSE, COMPILE, Call, REACH_OUT};

/// A filter, by what its process is going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Serve handlers whose guests do not reach out. No socket is made.
    Serve,
    /// Serve handlers of which some reach out, through `wasm-sock-egress`. No socket is made, and one is connected.
    ReachOut,
    /// Become the compiler of modules by execve(2), which inherits the filter.
    Compile,
}

impl Variant {
    /// Each of them stands at its own value as a number: `ALL[variant as usize] == variant`.
    pub const ALL: [Self; 3] = [Self::Serve, Self::ReachOut, Self::Compile];

    /// What it allows: [`ALWAYS`] first, and what comes on top. No call is in two of them.
    pub fn lists(self) -> &'static [&'static [Call]] {
        match self {
            Self::Serve => &[ALWAYS, CLOSE],
            Self::ReachOut => &[ALWAYS, REACH_OUT],
            Self::Compile => &[ALWAYS, CLOSE, COMPILE],
        }
    }
}
