//! The symbols of the C library that the host overrides.

mod atfork;
mod copy;
pub mod heap;
mod malloc;
