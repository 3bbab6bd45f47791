//! A handler: a name with its settings, its program, and how much of what it may have is in use.

use super::admission::slots::ConnectionSlots;
use super::admission::sources::Sources;
use crate::config::HandlerConfig;
use crate::journal::RateLimited;
use crate::limits::{History, LogLimit};
use crate::module::{Compiled, CurrentProgram, Files, Unavailable};
use crate::net::Peer;
use crate::runtime::{Engines, Program};
use crate::wasi::GuestContext;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// A name with its guest and settings.
pub struct Handler {
    pub name: Arc<str>,
    pub config: Arc<HandlerConfig>,
    /// One for each connection it may have (`max-connections`).
    pub slots: ConnectionSlots,
    /// Tells of clients that wait because all are taken.
    pub waits: RateLimited,
    /// One permit for each HTTP request that it may have at a time: as many, though with HTTP/2 a
    /// connection has several.
    pub requests: Arc<Semaphore>,
    /// How many of them come from where (`max-connections-per-source`).
    pub sources: Arc<Sources>,
    /// The same of its requests.
    pub request_sources: Arc<Sources>,
    /// How much its guests may log (`max-log`).
    log: Arc<LogLimit>,
    /// How its guests have kept others waiting.
    history: Arc<History>,
    /// Tells of datagrams that were larger than `max-datagram`.
    pub too_large: RateLimited,
    program: CurrentProgram,
}

impl Handler {
    pub fn new(name: String, config: HandlerConfig, files: Result<Files, String>) -> Self {
        let (name, limits): (Arc<str>, _) = (name.into(), config.limits);
        let sources = || Sources::new(limits.max_connections_per_source, limits.max_connections);
        Self {
            slots: ConnectionSlots::new(limits.max_connections as usize),
            waits: RateLimited::default(),
            requests: Arc::new(Semaphore::new(limits.max_connections as usize)),
            sources: sources(),
            request_sources: sources(),
            log: LogLimit::new(limits.max_log),
            history: Arc::default(),
            too_large: RateLimited::default(),
            config: Arc::new(config),
            program: CurrentProgram::new(name.clone(), files),
            name,
        }
    }

    /// Whom a guest of this handler works for; without a `peer`, for several.
    pub fn guest_context(&self, peer: Option<Peer>) -> Arc<GuestContext> {
        Arc::new(GuestContext {
            handler: self.name.clone(),
            config: self.config.clone(),
            log_limit: self.log.clone(),
            history: self.history.clone(),
            peer,
        })
    }

    /// The program to run for a new connection. Connections that run keep the program they began with.
    ///
    /// # Errors
    /// [`Unavailable`] when there is none. The reason goes to the log when it is a new one.
    pub async fn program(&self, engines: &Engines, compiled: Option<&Compiled>) -> Result<Arc<Program>, Unavailable> {
        self.program.get(engines, compiled).await
    }

    /// Does it answer HTTP requests, as far as is known without looking?
    pub fn is_known_as_http(&self) -> bool {
        self.program.is_known_as_http()
    }

    /// Logs why its module cannot serve what has come, once.
    pub async fn report_unfit(&self, why: &str) {
        self.program.report_unfit(why).await;
    }
}
