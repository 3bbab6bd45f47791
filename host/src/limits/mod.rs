//! Resource limits of a guest and their enforcement: memory, CPU time, log lines.

mod cpu;
mod log_rate;
mod memory;
mod ticks;

use std::time::Duration;

pub use cpu::{History, Meter, Metered, Turn};
pub use log_rate::LogLimit;
pub use memory::{Budget, MOST_DESCRIPTORS, Refused, limit_all as limit_memory, machine_memory};
pub use ticks::{Ticks, start as start_ticks};

/// The message about a guest that exceeded its `max-output`, in bytes.
pub fn sent_more(most: u64) -> String {
    format!("sent more than {most} bytes (raise `max-output` if it may)")
}

/// The message about a guest that exceeded its `timeout`.
pub fn took_longer(limit: Duration) -> String {
    format!("took longer than {limit:?} (raise `timeout` if it needs more)")
}
