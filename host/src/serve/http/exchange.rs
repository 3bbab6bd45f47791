//! One HTTP exchange, a request and its answer: its counters, and its line in the access log when both have ended.

use super::request_body::RequestBody;
use super::session::Session;
use crate::journal::{self, Level, ShortDuration};
use crate::lifecycle::InFlight;
use crate::limits::Meter;
use crate::runtime::{Bounds, Caller, GuestEnd};
use crate::sync::lock;
use crate::wasi::GuestContext;
use ::http::{Request, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use std::any::Any;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Instant;
use tokio::sync::OwnedSemaphorePermit;

/// The most bytes of method and path in the log; longer ones are cut.
const MAX_METHOD: usize = 30;
const MAX_PATH: usize = 200;

/// A request and its answer. It ends, and is logged, when it is dropped by its last owner: the answer's body or the
/// guest.
pub struct Exchange {
    pub session: Arc<Session>,
    /// The method and the path, for the log.
    target: String,
    started: Instant,
    /// The CPU time of the guest, if it serves this request only.
    meter: OnceLock<Arc<Meter>>,
    /// Bytes of the request's body that the guest read.
    pub received: AtomicU64,
    /// The request's body was received to its end.
    pub is_received: AtomicBool,
    /// The request's body.
    pub body: Mutex<RequestBody>,
    /// The request's body ended early: the client left.
    pub is_cut: AtomicBool,
    /// The request's body is larger than `max-body`.
    pub is_too_large: AtomicBool,
    /// Bytes of the answer's body that hyper took for the client.
    pub sent: AtomicU64,
    /// The status of the answer; 0: none yet.
    status: AtomicU16,
    /// The first problem, with its level.
    problem: Mutex<Option<(Level, String)>>,
    /// hyper has the whole answer.
    pub is_answered: AtomicBool,
    _permit: Option<OwnedSemaphorePermit>,
    _in_flight: InFlight,
}

impl Exchange {
    /// `permit` is one of the handler's concurrent requests; `None`: the request is refused.
    pub fn new(
        session: Arc<Session>,
        request: &Request<Incoming>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Arc<Self> {
        let in_flight = session.host.activity.begin();
        let mut target = String::with_capacity(64);
        journal::write_some(&mut target, request.method(), MAX_METHOD);
        target.push(' ');
        journal::write_some(&mut target, request.uri().path(), MAX_PATH);
        Arc::new(Self {
            session,
            target,
            started: Instant::now(),
            meter: OnceLock::new(),
            received: AtomicU64::new(0),
            is_received: AtomicBool::new(request.body().is_end_stream()),
            body: Mutex::default(),
            is_cut: AtomicBool::new(false),
            is_too_large: AtomicBool::new(false),
            sent: AtomicU64::new(0),
            status: AtomicU16::new(0),
            problem: Mutex::new(None),
            is_answered: AtomicBool::new(false),
            _permit: permit,
            _in_flight: in_flight,
        })
    }

    /// The answer's status, for the log.
    pub fn set_status(&self, status: StatusCode) {
        self.status.store(status.as_u16(), Relaxed);
    }

    /// Notes a problem for the log. Only the first one is kept.
    pub fn report(&self, level: Level, why: impl Into<String>) {
        lock(&self.problem).get_or_insert_with(|| (level, why.into()));
    }
}

impl Caller for Exchange {
    fn bounds(&self) -> Bounds {
        let config = &self.session.handler.config;
        let (http, limits) = (config.http, config.limits);
        Bounds {
            reuse: http.reuse,
            concurrency: http.concurrency.min(http.reuse),
            timeout: limits.timeout,
            cpu_time: limits.cpu_time,
        }
    }

    fn guest(&self, is_shared: bool) -> Arc<GuestContext> {
        let Session { handler, peer, .. } = &*self.session;
        handler.guest_context((!is_shared).then(|| peer.clone()))
    }

    fn keep(&self) -> Box<dyn Any + Send + Sync> {
        Box::new(self.session.host.activity.open())
    }

    fn metered_by(&self, meter: Arc<Meter>) {
        // An exchange has one guest, so this is set once.
        let _ = self.meter.set(meter);
    }

    fn ended_late(&self, why: String) {
        self.report(Level::Error, format!("ended: {why}"));
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut message = mem::take(&mut self.target);
        let status = *self.status.get_mut();
        if status != 0 {
            // Writing to a string does not fail.
            let _ = write!(message, " {status}");
        }
        let problem = self.problem.get_mut().map(Option::take);
        let problem = problem.unwrap_or_else(|poisoned| poisoned.into_inner().take());
        let (level, why) = match problem {
            Some((level, why)) => (level, Cow::Owned(why)),
            None if *self.is_answered.get_mut() => (Level::Info, "".into()),
            None if self.session.host.activity.gave_up() => (Level::Warning, "ended: the host exits".into()),
            None if self.session.has_stalled.load(Relaxed) => {
                let limit = self.session.handler.config.limits.silence();
                GuestEnd::silent(limit.unwrap_or_default()).report()
            }
            None => (Level::Info, "client left".into()),
        };
        if !why.is_empty() {
            let _ = write!(message, ": {why}");
        }
        let _ = write!(message, " ({}", ShortDuration(self.started.elapsed()));
        if let Some(meter) = self.meter.get() {
            let _ = write!(message, ", cpu {}", ShortDuration(meter.used()));
        }
        let (received, sent) = (*self.received.get_mut(), *self.sent.get_mut());
        let _ = write!(message, ", {received} bytes in, {sent} out)");
        let Session { handler, peer, .. } = &*self.session;
        journal::log_connection(level, &handler.name, peer, message);
    }
}
