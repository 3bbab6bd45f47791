//! The limits of all handlers together (`[host]`).

use crate::config::HostConfig;
use crate::limits;

/// Limits the memory of all guests together (`max-memory`).
pub fn limit_memory(settings: &HostConfig) {
    limits::limit_memory(settings.max_memory.unwrap_or_else(limits::machine_memory));
}

/// The most connections of all handlers together (`max-connections`).
pub fn most_connections(settings: &HostConfig) -> usize {
    settings.max_connections.map_or(usize::MAX, |most| most as usize)
}
