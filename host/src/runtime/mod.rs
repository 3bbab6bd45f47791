//! Running guests: engines and their pools, linked programs, stores, preemption.

mod code;
mod code_memory;
mod command;
mod engine;
mod engines;
mod http;
mod linked;
mod outcome;
mod pool;
mod program;
mod service;
mod store;
mod turns;

pub use self::http::{Answer, answer};
pub use code::Code;
#[cfg(test)]
pub use code::Unit;
pub use command::run;
pub use engines::Engines;
pub use linked::Guest;
pub use outcome::{End, WORDS};
pub use pool::open_pagemap;
pub use program::Program;
pub use service::{Attended, Bounds, NoAnswer};
pub use turns::stop_turns;
