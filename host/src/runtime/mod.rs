//! Running guests: engines and their pools, linked programs, stores, preemption.

mod answer;
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

pub use answer::{AnsweringGuest, BodyError, Caller, GuestBody, Unanswered};
pub use code::Code;
#[cfg(test)]
pub use code::Unit;
pub use command::run;
pub use engines::Engines;
pub use outcome::End;
pub use pool::open_pagemap;
pub use program::Program;
pub use service::Bounds;
pub use turns::stop_turns;
