//! The run-time state of a handler: its settings, its program, and the limits that its connections share.

use super::admission::slots::ConnectionSlots;
use super::admission::sources::Sources;
use crate::config::HandlerConfig;
use crate::journal::{ConnectionId, RateLimited};
use crate::limits::{History, LogLimit};
use crate::module::{Compiled, CurrentProgram, Files, Unavailable};
use crate::net::Peer;
use crate::runtime::{Engines, Program};
use crate::wasi::GuestContext;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use tokio::sync::Semaphore;
use wasm_sock_stats::HandlerStats;

/// A handler that serves sockets: a name with its settings and its program.
pub struct Handler {
    pub name: Arc<str>,
    pub config: Arc<HandlerConfig>,
    /// One slot for each connection that it may have (`max-connections`).
    pub slots: ConnectionSlots,
    /// Warns of clients that wait because all slots are taken.
    pub waits: RateLimited,
    /// One permit for each concurrent HTTP request, also `max-connections` of them: an HTTP/2 connection may have
    /// several requests.
    pub request_permits: Arc<Semaphore>,
    /// Connections by source (`max-connections-per-source`).
    pub connection_sources: Arc<Sources>,
    /// HTTP requests by source, with the same limit.
    pub request_sources: Arc<Sources>,
    /// The rate limit of what its guests log (`max-log`).
    log: Arc<LogLimit>,
    /// The CPU usage of earlier guests, for preemption.
    history: Arc<History>,
    /// Warns of datagrams that are larger than `max-datagram`.
    pub too_large: RateLimited,
    /// The successes that were offered to the log (`log-sample`).
    successes: AtomicU32,
    /// Does the host itself answer, with the counters of all handlers?
    pub is_metrics: bool,
    /// Its counters.
    pub stats: HandlerStats,
    program: CurrentProgram,
}

impl Handler {
    /// `files` is where its module is loaded from, or why there is none.
    pub fn new(name: String, config: HandlerConfig, files: Result<Files, String>, stats: HandlerStats) -> Self {
        let (name, limits): (Arc<str>, _) = (name.into(), config.limits);
        let sources = || Sources::new(limits.max_connections_per_source, limits.max_connections);
        Self {
            slots: ConnectionSlots::new(limits.max_connections as usize),
            waits: RateLimited::default(),
            request_permits: Arc::new(Semaphore::new(limits.max_connections as usize)),
            connection_sources: sources(),
            request_sources: sources(),
            log: LogLimit::new(limits.max_log),
            history: Arc::default(),
            too_large: RateLimited::default(),
            successes: AtomicU32::new(0),
            config: Arc::new(config),
            is_metrics: false,
            stats,
            program: CurrentProgram::new(name.clone(), files),
            name,
        }
    }

    /// The context of a guest that serves `peer`, on this connection; `None`: it is shared by several clients.
    pub fn guest_context(&self, client: Option<(Peer, ConnectionId)>, request: Option<u32>) -> Arc<GuestContext> {
        let (peer, connection) = client.unzip();
        Arc::new(GuestContext {
            handler: self.name.clone(),
            config: self.config.clone(),
            log_limit: self.log.clone(),
            history: self.history.clone(),
            stats: self.stats.clone(),
            peer,
            connection,
            request,
        })
    }

    /// The program for a new connection or request; loaded when it is not loaded yet, or when its file has changed.
    /// Guests that run keep the program that they started with.
    ///
    /// # Errors
    /// [`Unavailable`] when there is none. The reason is logged, if it is a new one.
    pub async fn program(&self, engines: &Engines, compiled: Option<&Compiled>) -> Result<Arc<Program>, Unavailable> {
        self.program.get(engines, compiled).await
    }

    /// Does its program answer HTTP requests, as far as is known without loading it?
    pub fn is_known_as_http(&self) -> bool {
        self.program.is_known_as_http()
    }

    /// Is this success one of those that are logged, one of `log-sample`? The first is.
    pub fn is_sampled(&self) -> bool {
        let sample = self.config.logging.sample;
        sample <= 1 || self.successes.fetch_add(1, Relaxed).is_multiple_of(sample)
    }

    /// Logs, once, why its module cannot serve this kind of socket.
    pub async fn report_unfit(&self, why: &str) {
        self.program.report_unfit(why).await;
    }
}
