//! The phases of an HTTP connection: a state machine that decides which deadline applies and whether it may be closed.
//!
//! ```text
//!  accepted
//!     │
//!     ▼         head complete                  last answer sent
//! ┌─────────────┐ ──────────► ┌───────────┐ ──────────────────────► ┌──────┐
//! │ ReadingHead │             │ Answering │                         │ Idle │
//! └─────────────┘             └───────────┘ ◄────────────────────── └──────┘
//!     ▲                                      head complete              │
//!     │                                      (pipelined, or HTTP/2)     │
//!     └─────────────────────────────────────────────────────────────────┘
//!                     first byte of the next head (HTTP/1)
//! ```
//!
//! hyper reports only complete heads. That a head has begun is seen from the bytes on their way to hyper
//! ([`super::io`]). Over HTTP/2 these may be anything (settings, a ping), and only complete heads count.

use tokio::time::Instant;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A request's head is arriving; or the connection is new, and a head has to arrive.
    ReadingHead,
    /// At least one request is being answered.
    Answering,
    /// Idle since its last request was answered (keep-alive).
    Idle,
}

/// The state machine of the picture above.
#[derive(Debug)]
pub struct Phases {
    phase: Phase,
    since: Instant,
    /// The start of each request that is being answered.
    active: Vec<Instant>,
    has_head_begun: bool,
}

impl Phases {
    /// The phases of a connection that was accepted `now`.
    pub fn new(now: Instant) -> Self {
        Self {
            phase: Phase::ReadingHead,
            since: now,
            active: Vec::new(),
            has_head_begun: false,
        }
    }

    /// The phase, and when it began; with several requests, when the oldest of them started.
    #[inline]
    pub fn current(&self) -> (Phase, Instant) {
        (self.phase, self.since)
    }

    /// Have bytes of the next head arrived, other than empty lines?
    pub fn has_head_begun(&self) -> bool {
        self.has_head_begun
    }

    /// Reports that bytes have arrived: over HTTP/1 all, over HTTP/2 only the first of the connection.
    #[inline]
    pub fn bytes_arrived(&mut self, bytes: &[u8], now: impl FnOnce() -> Instant) {
        // Empty lines before a request are not part of it (RFC 9112, 2.2).
        if bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            return;
        }
        // While a request is answered they may be its body.
        self.has_head_begun |= self.phase != Phase::Answering;
        if self.phase == Phase::Idle {
            self.phase = Phase::ReadingHead;
            self.since = now();
        }
    }

    /// Reports that a head is complete: its request is answered from `now` on.
    #[inline]
    pub fn request_started(&mut self, now: Instant) {
        if self.active.is_empty() {
            self.phase = Phase::Answering;
            self.since = now;
        }
        self.active.push(now);
        self.has_head_begun = false;
    }

    /// Reports that the request which `started` then was answered or abandoned. Returns whether it was the last.
    #[inline]
    pub fn request_ended(&mut self, started: Instant, now: impl FnOnce() -> Instant) -> bool {
        if let Some(position) = self.active.iter().position(|other| *other == started) {
            self.active.swap_remove(position);
        }
        match self.active.iter().min() {
            Some(oldest) => {
                self.since = *oldest;
                false
            }
            None => {
                self.phase = Phase::Idle;
                self.since = now();
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// An accepted connection, and a clock in seconds since then.
    fn accepted() -> (Phases, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        (Phases::new(start), move |seconds| start + Duration::from_secs(seconds))
    }

    #[test]
    fn a_new_connection_waits_for_a_head_since_it_was_accepted() {
        let (mut phases, at) = accepted();
        assert_eq!(phases.current(), (Phase::ReadingHead, at(0)));
        assert!(!phases.has_head_begun());
        phases.bytes_arrived(b"GET / HT", || at(1));
        assert_eq!(phases.current(), (Phase::ReadingHead, at(0)));
        assert!(phases.has_head_begun());
    }

    #[test]
    fn empty_lines_are_not_the_beginning_of_a_head() {
        let (mut phases, at) = accepted();
        phases.bytes_arrived(b"\r\n\n", || at(1));
        assert!(!phases.has_head_begun());
        phases.request_started(at(2));
        phases.request_ended(at(2), || at(3));
        phases.bytes_arrived(b"\r\n", || at(4));
        assert_eq!(phases.current(), (Phase::Idle, at(3)));
    }

    #[test]
    fn a_request_is_answered_and_then_the_connection_is_idle_until_the_next_byte() {
        let (mut phases, at) = accepted();
        phases.bytes_arrived(b"GET / HTTP/1.1\r\n\r\n", || at(1));
        phases.request_started(at(2));
        assert_eq!(phases.current(), (Phase::Answering, at(2)));
        assert!(!phases.has_head_begun());
        assert!(phases.request_ended(at(2), || at(3)));
        assert_eq!(phases.current(), (Phase::Idle, at(3)));
        phases.bytes_arrived(b"G", || at(4));
        assert_eq!(phases.current(), (Phase::ReadingHead, at(4)));
        assert!(phases.has_head_begun());
        phases.bytes_arrived(b"E", || at(5));
        assert_eq!(phases.current(), (Phase::ReadingHead, at(4)));
    }

    #[test]
    fn a_body_is_not_the_beginning_of_a_head() {
        let (mut phases, at) = accepted();
        phases.request_started(at(1));
        phases.bytes_arrived(b"a body", || at(2));
        assert!(!phases.has_head_begun());
        assert_eq!(phases.current(), (Phase::Answering, at(1)));
    }

    #[test]
    fn a_pipelined_head_is_answered_without_a_byte_in_between() {
        let (mut phases, at) = accepted();
        phases.request_started(at(1));
        phases.request_ended(at(1), || at(2));
        phases.request_started(at(3));
        assert_eq!(phases.current(), (Phase::Answering, at(3)));
    }

    #[test]
    fn several_requests_count_from_the_oldest_and_end_in_any_order() {
        let (mut phases, at) = accepted();
        for start in 1..=3 {
            phases.request_started(at(start));
        }
        assert_eq!(phases.current(), (Phase::Answering, at(1)));
        assert!(!phases.request_ended(at(2), || at(4)));
        assert_eq!(phases.current(), (Phase::Answering, at(1)));
        assert!(!phases.request_ended(at(1), || at(5)));
        assert_eq!(phases.current(), (Phase::Answering, at(3)));
        assert!(phases.request_ended(at(3), || at(6)));
        assert_eq!(phases.current(), (Phase::Idle, at(6)));
    }

    #[test]
    fn requests_that_started_at_the_same_time_end_one_by_one() {
        let (mut phases, at) = accepted();
        phases.request_started(at(1));
        phases.request_started(at(1));
        assert!(!phases.request_ended(at(1), || at(2)));
        assert!(phases.request_ended(at(1), || at(3)));
    }
}
