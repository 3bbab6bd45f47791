//! What all connections of the process share.

use super::admission::slots::ConnectionSlots;
use super::threads::Threads;
use crate::lifecycle::Activity;
use crate::module::Compiled;
use crate::runtime::Engines;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// What all connections of the process share.
pub struct Shared {
    pub engines: Engines,
    /// Where compiled modules come from.
    pub compiled: Compiled,
    pub activity: Arc<Activity>,
    pub threads: Threads,
    /// One for each connection that all handlers together may have (`max-connections`).
    pub slots: ConnectionSlots,
    /// One permit for each descriptor that connections may have. A client waits in the kernel until
    /// there are enough for it; were it accepted, it would be for nothing.
    pub descriptors: Arc<Semaphore>,
    /// How many there are.
    pub descriptor_limit: usize,
}
