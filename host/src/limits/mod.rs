//! What a guest may use, and what ends it when it uses more: memory, CPU time, lines in the log.

mod cpu;
mod log_rate;
mod memory;
mod ticks;

use std::time::Duration;

pub use cpu::{History, Meter, Metered, Turn};
pub use log_rate::LogLimit;
pub use memory::{Budget, MOST_DESCRIPTORS, Refused, limit_all as limit_memory, machine_memory};
pub use ticks::{Ticks, start as start_ticks};

/// What is said of a guest that met its `max-output`, in bytes.
pub fn sent_more(most: u64) -> String {
    format!("sent more than {most} bytes (raise `max-output` if it may)")
}

/// What is said of a guest that met its `timeout`.
pub fn took_longer(limit: Duration) -> String {
    format!("took longer than {limit:?} (raise `timeout` if it needs more)")
}
