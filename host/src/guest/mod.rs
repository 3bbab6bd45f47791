//! What a guest is, what it may touch, and running one.

mod budget;
mod clock;
mod link;
mod log;
mod outbound;
mod program;
mod run;
mod state;
mod stdio;
mod wasip1;

pub use clock::Meter;
pub use program::{Code, Program};
pub use run::{End, run};
pub use state::{State, StateError};
pub use stdio::Connection;
