//! What a guest is, what it may touch, and running one.

mod budget;
mod clock;
mod connection;
mod datagram;
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

pub use clock::Meter;
pub use connection::{Connection, Stream, Transport};
pub use datagram::{Datagram, LARGEST as LARGEST_DATAGRAM, TooLong};
pub use self::http::{Answer, answer};
pub use program::{Code, Engines, Program};
pub use run::{End, run};
pub use service::{Attended, Bounds, NoAnswer};
pub use state::{Fate, State, StateError, Who};
pub use stdio::Stdio;
