//! The task of an HTTP connection: polls hyper, starts the graceful shutdown, and enforces the deadlines.
//!
//! hyper reads heads, calls [`request::answer`] for answers and sends them. It does not distinguish the timeout of a
//! head from that of an idle connection, does not notice that a client leaves while its guest runs, and does not decide
//! when to close. That is done here, in one task with hyper, in this order each time that the task is polled:
//!
//! 1. hyper is polled; when it is done, so is the connection;
//! 2. a shutdown is requested when the host drains, when the handler's settings were replaced, or when the connection is
//!    idle and a client waits for its slot;
//! 3. a requested shutdown begins as soon as possible ([`Shutdown`]);
//! 4. if the client has left while its request is answered, the connection ends;
//! 5. if the deadline has passed ([`super::deadlines`]), the connection ends or shuts down; else the task waits for it.

use super::client;
use super::closing::{Close, Shutdown};
use super::deadlines::{Awaited, Deadline, PhaseDeadlines, StallTimer};
use super::io::HttpIo;
use super::phase::Phase;
use super::session::Session;
use super::{protocol, request};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep, sleep_until};

/// Serves the requests of a connection until it is to be closed. Returns how to close it.
pub async fn run(session: &Arc<Session>) -> Close {
    let builder = protocol::builder(session);
    let io = TokioIo::new(HttpIo::new(session.connection.clone(), session.state.clone()));
    let service = service_fn(|request| request::answer(session.clone(), request));
    let mut hyper = pin!(builder.serve_connection(io, service));
    let mut client_left = pin!(client::left(&session.connection));
    let mut host_drains = pin!(session.host.activity.closing());
    let mut clients_wait = pin!(session.clients_wait());
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut watch = Watch::new(session);
    let state = &session.state;
    poll_fn(|context| {
        state.driver_polled(context);
        loop {
            if hyper.as_mut().poll(context).is_ready() {
                return Poll::Ready(Close::Complete);
            }
            let (phase, since) = state.phase();
            if watch.shutdown.requested_at().is_none() {
                // Only wakes the task; whether a client still waits, or what else has changed, is checked below.
                let _ = clients_wait.as_mut().poll(context);
                let gives_way = phase == Phase::Idle && session.is_client_waiting();
                if gives_way || session.handler.is_replaced() || host_drains.as_mut().poll(context).is_ready() {
                    watch.shutdown.request(Instant::now());
                }
            }
            if watch.shutdown_begins(phase) {
                hyper.as_mut().graceful_shutdown();
                continue;
            }
            if phase == Phase::Answering && client_left.as_mut().poll(context).is_ready() {
                return Poll::Ready(Close::Reset);
            }
            let Some(deadline) = watch.deadline(phase, since) else {
                return Poll::Pending;
            };
            let now = Instant::now();
            if deadline.at > now {
                ready!(poll_timer(timer.as_mut(), deadline.at, context));
            } else if let Some(close) = watch.passed(deadline, phase) {
                return Poll::Ready(close);
            } else {
                watch.shutdown.request(now);
            }
        }
    })
    .await
}

/// Waits until `deadline`, or less: the caller checks the time again.
fn poll_timer(mut timer: Pin<&mut Sleep>, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
    // Resetting a timer costs more than a wake-up that is too early, and most deadlines only move into the future.
    if timer.is_elapsed() || timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    timer.poll(context)
}

/// The deadlines and the shutdown of a connection.
struct Watch<'a> {
    session: &'a Session,
    deadlines: PhaseDeadlines,
    stall: StallTimer,
    shutdown: Shutdown,
}

impl<'a> Watch<'a> {
    fn new(session: &'a Session) -> Self {
        let config = &session.handler.config;
        Self {
            session,
            deadlines: PhaseDeadlines::new(&config.http, &config.limits),
            stall: StallTimer::new(config.limits.silence()),
            shutdown: Shutdown::default(),
        }
    }

    #[inline]
    fn shutdown_begins(&mut self, phase: Phase) -> bool {
        let Session { connection, state, .. } = self.session;
        self.shutdown
            .begins(phase, state.is_http2(), || connection.has_unread())
    }

    /// The deadline of a `phase` that began at `since`.
    #[inline]
    fn deadline(&mut self, phase: Phase, since: Instant) -> Option<Deadline> {
        let Session { connection, state, .. } = self.session;
        let stall = match phase {
            Phase::Answering => {
                let (bodies, moved) = (state.bodies_in_transit(), connection.moved());
                self.stall.deadline(bodies, moved, Instant::now)
            }
            Phase::ReadingHead | Phase::Idle => None,
        };
        let requested = self.shutdown.requested_at();
        let own = self.deadlines.of((phase, since), state.is_http2(), requested);
        Deadline::earlier(stall, own)
    }

    /// How the connection is closed now that `deadline` has passed. `None`: by a graceful shutdown.
    fn passed(&self, deadline: Deadline, phase: Phase) -> Option<Close> {
        let state = &self.session.state;
        if phase == Phase::Answering {
            let has_stalled = deadline.awaited == Awaited::BodyByte;
            self.session.has_stalled.store(has_stalled, Relaxed);
        }
        Close::after_deadline(phase, state.is_http2(), state.has_head_begun(), &self.shutdown)
    }
}
