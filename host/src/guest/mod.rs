//! What a guest is, what it may touch, and running one.

mod budget;
mod clock;
mod code_memory;
mod connection;
mod context;
mod datagram;
mod engines;
mod environment;
mod http;
mod link;
mod log;
mod lookup;
mod outbound;
mod peer;
mod program;
mod run;
mod service;
mod state;
mod stdio;
mod wasip1;

pub use self::http::{Answer, answer};
pub use budget::{limit_all as limit_memory, machine_memory};
pub use clock::Meter;
pub use connection::{Connection, Stream, Transport};
pub use context::StateError;
pub use datagram::{Datagram, TooLong};
pub use engines::{Engines, Place, open_pagemap};
pub use environment::Who;
pub use log::LogLimit;
pub use peer::{Peer, internet};
pub use program::{Code, Guest, Program};
pub use run::{End, run, stop_turns};
pub use service::{Attended, Bounds, NoAnswer};
pub use state::{Fate, State};
pub use stdio::Stdio;
