//! What a guest is, what it may touch, and running one.

mod budget;
mod clock;
mod connection;
mod datagram;
mod engines;
mod http;
mod link;
mod log;
mod outbound;
mod program;
mod run;
mod service;
mod state;
mod stdio;
mod wasip1;

pub use self::http::{Answer, answer};
pub use clock::Meter;
pub use connection::{Connection, Stream, Transport};
pub use datagram::{Datagram, LARGEST as LARGEST_DATAGRAM, TooLong};
pub use engines::{Engines, Place};
pub use program::{Code, Guest, Program};
pub use run::{End, run};
pub use service::{Attended, Bounds, NoAnswer};
pub use state::{Fate, State, StateError, Who};
pub use stdio::Stdio;
