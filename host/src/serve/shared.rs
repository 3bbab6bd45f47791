//! The state that all connections of the process share: engines, limits, threads.

use super::admission::slots::ConnectionSlots;
use super::threads::Threads;
use crate::lifecycle::Activity;
use crate::module::Compiled;
use crate::runtime::Engines;
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasm_sock_stats::Table;

/// The state that all connections of the process share.
pub struct Shared {
    pub engines: Engines,
    /// The cache of compiled modules, and the compile process.
    pub compiled: Compiled,
    pub activity: Arc<Activity>,
    /// The counters of this process. `None`: nothing is counted.
    pub stats: Option<Table>,
    pub threads: Threads,
    /// One slot for each connection that all handlers together may have (`max-connections` in `[host]`).
    pub slots: ConnectionSlots,
    /// One permit for each descriptor that connections may use (`LimitNOFILE=`). A client stays pending until there
    /// are enough for it: accepted earlier, it could not be served.
    pub descriptors: Arc<Semaphore>,
    /// How many of these permits there are.
    pub descriptor_limit: usize,
}
