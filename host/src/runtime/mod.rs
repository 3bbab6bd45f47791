//! Running guests with Wasmtime: engines, instance pools, linked programs, stores, preemption.

mod answer;
mod code;
mod code_memory;
mod command;
mod engine;
mod engines;
mod http_p2;
mod http_p3;
mod linked;
mod outcome;
mod pool;
mod program;
mod store;
mod turns;

pub use answer::{AnsweringGuest, BodyError, Caller, GuestBody, Unanswered};
pub use code::Code;
#[cfg(test)]
pub use code::Unit;
pub use command::run;
pub use engines::Engines;
pub use http_p3::{ActivityToken, Bounds, InstanceActivity};
pub use outcome::{Cause, GuestEnd};
pub use pool::open_pagemap;
pub use program::Program;
pub use turns::stop_turns;
