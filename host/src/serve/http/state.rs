//! The mutable state of one HTTP connection (phase, protocol version, bodies in transit): shared by its task
//! ([`super::driver`]), the adapter that hyper reads from ([`super::io`]) and its requests.

use super::phase::{Phase, Phases};
use super::read_budget::ReadBudget;
use crate::lifecycle::InFlight;
use crate::serve::admission::sources::Counted;
use crate::sync::lock;
use futures::task::AtomicWaker;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::task::Context;
use tokio::time::Instant;

/// The beginning of the HTTP/2 connection preface (RFC 9113, 3.4). No HTTP/1 method begins so.
const HTTP2_PREFACE: &[u8] = b"PRI";

/// The state of a connection.
pub struct ConnectionState {
    progress: Mutex<Progress>,
    /// Wakes the connection's task: HTTP/2 requests begin and end in tasks of their own.
    driver: AtomicWaker,
    is_http2: AtomicBool,
    pub read_budget: ReadBudget,
    /// The number of bodies in transit, of requests and of answers.
    bodies: AtomicUsize,
}

struct Progress {
    phases: Phases,
    /// Nothing has arrived yet.
    is_new: bool,
    /// Set until the first request; from then on each request counts instead. So a client that connects and takes a
    /// second to send its request is served before the host exits, and an idle connection does not keep the host
    /// running.
    in_flight: Option<InFlight>,
}

/// A request that is being answered: the connection's phase is [`Phase::Answering`] until this is dropped.
pub struct ActiveRequest {
    state: Arc<ConnectionState>,
    started: Instant,
    /// Counts it for its source.
    pub counted: Option<Counted>,
}

/// A body that counts as in transit until this is dropped.
pub struct BodyInTransit(Arc<ConnectionState>);

impl ConnectionState {
    /// The state of a connection that was accepted now, and counts as in flight until its first request.
    pub fn new(in_flight: InFlight) -> Self {
        Self {
            progress: Mutex::new(Progress {
                phases: Phases::new(Instant::now()),
                is_new: true,
                in_flight: Some(in_flight),
            }),
            driver: AtomicWaker::new(),
            is_http2: AtomicBool::new(false),
            read_budget: ReadBudget::default(),
            bodies: AtomicUsize::new(0),
        }
    }

    /// The phase, and when it began: see [`Phases::current`].
    pub fn phase(&self) -> (Phase, Instant) {
        lock(&self.progress).phases.current()
    }

    /// Has the next request's head begun to arrive?
    pub fn has_head_begun(&self) -> bool {
        lock(&self.progress).phases.has_head_begun()
    }

    /// Does the connection use HTTP/2? Known from its first bytes on.
    pub fn is_http2(&self) -> bool {
        self.is_http2.load(Relaxed)
    }

    /// The number of bodies in transit, of requests and of answers.
    pub fn bodies_in_transit(&self) -> usize {
        self.bodies.load(Relaxed)
    }

    /// The connection's task is polled: renews its read budget, and registers it to be woken when a request that ends
    /// in another task makes the connection idle.
    pub fn driver_polled(&self, context: &Context<'_>) {
        self.read_budget.renew();
        self.driver.register(context.waker());
    }

    /// Reports bytes that have arrived on the socket.
    pub fn bytes_arrived(&self, bytes: &[u8]) {
        if self.is_http2() {
            return;
        }
        let mut progress = lock(&self.progress);
        if progress.is_new {
            progress.is_new = false;
            self.is_http2.store(bytes.starts_with(HTTP2_PREFACE), Relaxed);
        }
        progress.phases.bytes_arrived(bytes, Instant::now);
    }

    /// Reports that a request's head is complete.
    pub fn start_request(self: &Arc<Self>, is_http2: bool) -> ActiveRequest {
        self.is_http2.store(is_http2, Relaxed);
        let started = Instant::now();
        let mut progress = lock(&self.progress);
        progress.phases.request_started(started);
        progress.in_flight = None;
        ActiveRequest {
            state: self.clone(),
            started,
            counted: None,
        }
    }

    /// Counts a body as in transit until the result is dropped.
    pub fn start_body(self: &Arc<Self>) -> BodyInTransit {
        self.bodies.fetch_add(1, Relaxed);
        BodyInTransit(self.clone())
    }
}

impl Drop for ActiveRequest {
    fn drop(&mut self) {
        let is_idle = lock(&self.state.progress)
            .phases
            .request_ended(self.started, Instant::now);
        if is_idle {
            self.state.driver.wake();
        }
    }
}

impl Drop for BodyInTransit {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lifecycle::Activity;

    #[test]
    fn a_connection_is_in_flight_until_its_first_request() {
        let activity = Activity::new();
        let state = Arc::new(ConnectionState::new(activity.begin()));
        state.bytes_arrived(b"GET / HTTP/1.1\r\n");
        assert_eq!(activity.in_flight(), 1);
        let request = state.start_request(false);
        assert_eq!((state.phase().0, activity.in_flight()), (Phase::Answering, 0));
        drop(request);
        assert_eq!((state.phase().0, activity.in_flight()), (Phase::Idle, 0));
    }

    #[test]
    fn the_first_bytes_tell_the_version() {
        let activity = Activity::new();
        for (bytes, is_http2) in [(&b"PRI * HTTP/2.0\r\n"[..], true), (b"PUT / HTTP/1.1\r\n", false)] {
            let state = ConnectionState::new(activity.begin());
            state.bytes_arrived(bytes);
            assert_eq!((state.is_http2(), state.has_head_begun()), (is_http2, true));
            // Only the first.
            state.bytes_arrived(b"PRI");
            assert_eq!(state.is_http2(), is_http2);
        }
    }

    #[test]
    fn frames_of_http2_are_not_the_beginning_of_a_head() {
        let state = Arc::new(ConnectionState::new(Activity::new().begin()));
        state.bytes_arrived(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        drop(state.start_request(true));
        state.bytes_arrived(b"a ping");
        assert_eq!((state.phase().0, state.has_head_begun()), (Phase::Idle, false));
    }

    #[test]
    fn bodies_are_counted_while_they_are_in_transit() {
        let state = Arc::new(ConnectionState::new(Activity::new().begin()));
        let (request, answer) = (state.start_body(), state.start_body());
        assert_eq!(state.bodies_in_transit(), 2);
        drop(request);
        drop(answer);
        assert_eq!(state.bodies_in_transit(), 0);
    }
}
