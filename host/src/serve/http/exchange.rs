//! One HTTP exchange, a request and its answer: its counters, and its line in the access log when both have ended.

use super::post_return::Activity;
use super::request_body::RequestBody;
use super::session::Session;
use crate::journal::{self, Level};
use crate::lifecycle::InFlight;
use crate::limits::Meter;
use crate::runtime::{ActivityToken, Bounds, Caller, Cause, GuestEnd};
use crate::serve::record::{End, Http, LogLine, Record, Usage};
use crate::sync::lock;
use crate::wasi::GuestContext;
use ::http::{Request, StatusCode};
use http_body::Body;
use hyper::body::Incoming;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::sync::OwnedSemaphorePermit;
use wasm_sock_stats::Outcome;

/// The most bytes of method and path in the log; longer ones are cut.
const MAX_METHOD: usize = 30;
const MAX_PATH: usize = 200;

/// A request and its answer. It ends, and is logged, when it is dropped by its last owner: the answer's body or the
/// guest.
pub struct Exchange {
    pub session: Arc<Session>,
    /// Which request of the connection, counted from 1.
    number: u32,
    /// The method and the path, for the log; and where the path begins.
    target: String,
    path: usize,
    started: Instant,
    /// Nanoseconds from then to the head of the answer; 0: none yet.
    first_byte: AtomicU64,
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
    problem: Mutex<Option<(Level, Cause)>>,
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
        session.handler.stats.begin();
        let mut target = String::with_capacity(64);
        journal::write_some(&mut target, request.method(), MAX_METHOD);
        let path = target.len();
        journal::write_some(&mut target, request.uri().path(), MAX_PATH);
        Arc::new(Self {
            number: session.requests.fetch_add(1, Relaxed) + 1,
            session,
            target,
            path,
            started: Instant::now(),
            first_byte: AtomicU64::new(0),
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

    /// The answer's head is about to be sent, with this status.
    pub fn set_status(&self, status: StatusCode) {
        let nanoseconds = self.started.elapsed().as_nanos() as u64;
        self.first_byte.store(nanoseconds.max(1), Relaxed);
        self.status.store(status.as_u16(), Relaxed);
    }

    /// Notes a problem for the log. Only the first one is kept.
    pub fn report(&self, level: Level, cause: Cause) {
        lock(&self.problem).get_or_insert((level, cause));
    }

    /// Notes that its guest was ended. Only the first problem is kept.
    pub fn report_ended(&self, cause: Cause) {
        let why = format!("ended: {}", cause.why);
        self.report(Level::Error, Cause { why, ..cause });
    }

    /// How it ended.
    fn end(&self) -> End {
        match lock(&self.problem).take() {
            Some((level, cause)) => End::with_cause(level, cause),
            None if self.is_answered.load(Relaxed) => End::new(Outcome::Ok, Level::Info, ""),
            None if self.session.host.activity.gave_up() => End::drained(),
            None if self.session.has_stalled.load(Relaxed) => {
                let limit = self.session.handler.config.limits.silence();
                (&GuestEnd::silent(limit.unwrap_or_default())).into()
            }
            None => End::client_left(),
        }
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
        let Session {
            handler,
            peer,
            connection,
            ..
        } = &*self.session;
        let client = (!is_shared).then(|| (peer.clone(), connection.id));
        let request = (!is_shared).then_some(self.number);
        handler.guest_context(client, request)
    }

    fn keep(&self) -> ActivityToken {
        Box::new(Activity::new(self.session.clone()))
    }

    fn metered_by(&self, meter: Arc<Meter>) {
        // An exchange has one guest, so this is set once.
        let _ = self.meter.set(meter);
    }

    fn ended_late(&self, cause: Cause) {
        self.report_ended(cause);
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let (method, path) = self.target.split_at(self.path);
        let (status, first_byte) = (self.status.load(Relaxed), self.first_byte.load(Relaxed));
        let usage = Usage {
            bytes_in: self.received.load(Relaxed),
            bytes_out: self.sent.load(Relaxed),
            duration: self.started.elapsed(),
            first_byte: (first_byte != 0).then(|| Duration::from_nanos(first_byte)),
            ..Usage::of(self.meter.get().map(|meter| &**meter))
        };
        let http = Http {
            request: self.number,
            method,
            path,
            status: (status != 0).then_some(status),
        };
        let record = Record {
            handler: &self.session.handler,
            peer: Some(&self.session.peer),
            connection: Some(self.session.connection.id),
            end: self.end(),
            usage: Some(usage),
            http: Some(http),
        };
        record.write(LogLine::Each);
    }
}
