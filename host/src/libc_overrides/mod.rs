//! The symbols of the C library that the host overrides.

mod copy;
pub mod heap;
mod malloc;
