//! The run-time state of a handler: its settings, its program, and the limits that its connections share.

use super::admission::slots::{self, ConnectionSlots};
use super::admission::sources::Sources;
use super::exit_code::GuestExit;
use crate::config::HandlerConfig;
use crate::egress::Egress;
use crate::http_client::Client;
use crate::journal::{ConnectionId, RateLimited};
use crate::keyvalue::Stores;
use crate::limits::{History, LogLimit};
use crate::module::{Compiled, CurrentProgram, Files, Unavailable};
use crate::net::Peer;
use crate::runtime::{Engines, Program};
use crate::wasi::{GuestContext, Values};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;
use wasm_sock_stats::HandlerStats;

/// A handler that serves sockets: a name with its settings and its program.
///
/// A reload that changes its settings makes another one, its [successor](Self::successor): new clients are that one's,
/// and connections keep the one that they began with. What limits all connections together is the same for both.
pub struct Handler {
    pub name: Arc<str>,
    pub config: Arc<HandlerConfig>,
    /// The handler of the same name with newer settings.
    successor: OnceLock<Arc<Handler>>,
    /// The exit code of the guests of all handlers, for `--exit-with-guest`.
    pub guest_exit: Arc<GuestExit>,
    /// One slot for each connection that it may have (`max-connections`).
    pub slots: Arc<ConnectionSlots>,
    /// Warns of clients that wait because all slots are taken.
    pub waits: Arc<RateLimited>,
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
    /// What its guests may ask for by name. Read anew after a reload.
    values: Arc<Values>,
    /// Warns of datagrams that are larger than `max-datagram`.
    pub too_large: Arc<RateLimited>,
    /// The successes that were offered to the log (`log-sample`).
    successes: Arc<AtomicU32>,
    /// Does the host itself answer, with the counters of all handlers?
    pub is_metrics: bool,
    /// Its counters.
    pub stats: HandlerStats,
    /// The way out of its guests.
    egress: Option<Arc<Egress>>,
    /// Their HTTP client. A successor has another: connections were made by the grants of their time.
    http: Option<Arc<Client>>,
    /// The key-value stores of its guests.
    stores: Option<Arc<Stores>>,
    program: CurrentProgram,
}

impl Handler {
    /// `files` is where its module is loaded from, or why there is none.
    pub fn new(
        name: String,
        config: HandlerConfig,
        files: Result<Files, String>,
        stats: HandlerStats,
        guest_exit: Arc<GuestExit>,
        egress: Option<Arc<Egress>>,
    ) -> Self {
        let (name, limits): (Arc<str>, _) = (name.into(), config.limits);
        let sources = || Sources::new(limits.max_connections_per_source, limits.max_connections);
        Self {
            successor: OnceLock::new(),
            guest_exit,
            slots: Arc::new(ConnectionSlots::new(limits.max_connections as usize)),
            waits: Arc::default(),
            request_permits: Arc::new(Semaphore::new(limits.max_connections as usize)),
            connection_sources: sources(),
            request_sources: sources(),
            log: LogLimit::new(limits.max_log),
            history: Arc::default(),
            values: Arc::default(),
            too_large: Arc::default(),
            successes: Arc::default(),
            http: http_client(&name, &config, egress.as_ref()),
            stores: Stores::of(&name, &config, egress.as_ref()),
            config: Arc::new(config),
            is_metrics: false,
            stats,
            egress,
            program: CurrentProgram::new(name.clone(), files),
            name,
        }
    }

    /// Replaces the settings for new clients. Returns the handler with the new ones; `None`: they are the same.
    ///
    /// The limits of all connections together change at once. HTTP connections are asked to close: their clients come
    /// back.
    pub fn replace(
        &self,
        config: HandlerConfig,
        files: Result<Files, String>,
        is_metrics: bool,
    ) -> Option<Arc<Self>> {
        // A problem with the module is logged again, also if it is the same.
        self.program.report_again();
        if self.is_metrics == is_metrics && self.program.is_of(&files) && is_same(&self.config, &config) {
            return None;
        }
        let (former, limits) = (self.config.limits.max_connections as usize, config.limits);
        let (all, of_source) = (limits.max_connections, limits.max_connections_per_source);
        self.slots.resize(all as usize);
        slots::resize(&self.request_permits, former, all as usize);
        self.connection_sources.limit(of_source, all);
        self.request_sources.limit(of_source, all);
        self.log.limit(limits.max_log);
        let successor = Arc::new(Self {
            name: self.name.clone(),
            http: http_client(&self.name, &config, self.egress.as_ref()),
            stores: Stores::renewed(self.stores.as_ref(), &self.name, &config, self.egress.as_ref()),
            config: Arc::new(config),
            successor: OnceLock::new(),
            guest_exit: self.guest_exit.clone(),
            slots: self.slots.clone(),
            waits: self.waits.clone(),
            request_permits: self.request_permits.clone(),
            connection_sources: self.connection_sources.clone(),
            request_sources: self.request_sources.clone(),
            log: self.log.clone(),
            history: self.history.clone(),
            values: Arc::default(),
            too_large: self.too_large.clone(),
            successes: self.successes.clone(),
            is_metrics,
            stats: self.stats.clone(),
            egress: self.egress.clone(),
            program: self.program.renewed(files),
        });
        // An error means that it has one already, which the caller has in its place.
        let _ = self.successor.set(successor.clone());
        self.slots.wake();
        Some(successor)
    }

    /// Was it replaced, so that it serves no new clients?
    pub fn is_replaced(&self) -> bool {
        self.successor.get().is_some()
    }

    /// Puts the handler with the newest settings in the place of `handler`. Takes one atomic load if that is it.
    pub fn update(handler: &mut Arc<Self>) {
        while let Some(successor) = handler.successor.get().cloned() {
            *handler = successor;
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
            values: self.values.clone(),
            stats: self.stats.clone(),
            egress: self.egress.clone(),
            http: self.http.clone(),
            stores: self.stores.clone(),
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

/// The client of a handler's guests, if something was granted that they may call.
fn http_client(name: &Arc<str>, config: &HandlerConfig, egress: Option<&Arc<Egress>>) -> Option<Arc<Client>> {
    let egress = egress.filter(|_| !config.allow_outbound.is_empty())?;
    Some(Client::new(name.clone(), config.outbound, egress.clone()))
}

/// Are these the same for connections, and in no file that a guest may have read? Where the settings are written, and what is systemd's of them, does not matter.
fn is_same(one: &HandlerConfig, other: &HandlerConfig) -> bool {
    let one = one.clone();
    let other = HandlerConfig {
        listen: one.listen.clone(),
        socket: one.socket.clone(),
        process: one.process,
        enabled: one.enabled,
        schedule: one.schedule.clone(),
        has_unit_mistake: one.has_unit_mistake,
        location: one.location.clone(),
        ..other.clone()
    };
    one == other && !one.reads_files()
}
