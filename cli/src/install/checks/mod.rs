//! What is checked before anything is changed. Each check returns its problems, so that all are reported at once.

pub mod folders;
pub mod ports;
pub mod service;
pub mod units;
