//! Drives one HTTP connection: polls hyper, begins the graceful shutdown, and keeps the deadlines.
//!
//! hyper reads heads, asks [`request::answer`] for answers and sends them. It has no deadline for a head apart from that
//! of an idle connection, does not see that a client leaves while its guest works, and does not know when to close: that
//! is done here, in one task with hyper, in this order each time that the task is polled:
//!
//! 1. hyper goes on, as far as it can; when it is done, so is the connection;
//! 2. a shutdown is requested when the host drains, or an idle connection is to give way to a client that waits;
//! 3. a requested shutdown begins as soon as it may ([`Shutdown`]);
//! 4. a client that has left while its request is answered ends the connection;
//! 5. so may a deadline that has passed ([`super::deadlines`]); else the task waits for it.

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

/// Serves the requests of a connection until it is to be closed; returns how.
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
                // Only wakes the task; whether a client still waits is asked below.
                let _ = clients_wait.as_mut().poll(context);
                let gives_way = phase == Phase::Idle && session.is_client_waiting();
                if gives_way || host_drains.as_mut().poll(context).is_ready() {
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

/// Waits until `deadline`, or not as long: the caller looks again.
fn poll_timer(mut timer: Pin<&mut Sleep>, deadline: Instant, context: &mut Context<'_>) -> Poll<()> {
    // Setting it costs more than being woken too early, and most deadlines only move away.
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

    /// What is waited for in a `phase` that lasts `since` then.
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

    /// `deadline` has passed: how the connection is closed. `None`: by a shutdown.
    fn passed(&self, deadline: Deadline, phase: Phase) -> Option<Close> {
        let state = &self.session.state;
        if phase == Phase::Answering {
            let has_stalled = deadline.awaited == Awaited::BodyByte;
            self.session.has_stalled.store(has_stalled, Relaxed);
        }
        Close::after_deadline(phase, state.is_http2(), state.has_head_begun(), &self.shutdown)
    }
}
