//! How an HTTP connection ends: graceful shutdown, and what a deadline that has passed leads to.
//!
//! ```text
//!            host drains, settings replaced,
//!            idle connection evicted,
//!            keep-alive over                           no head in transit
//! ┌──────┐ ─────────────────────────────► ┌───────────┐ ──────────────► ┌───────┐ last answer sent,
//! │ open │                                │ requested │                 │ begun │ or CLOSE_TIMEOUT over ──► closed
//! └──────┘                                └───────────┘                 └───────┘
//! ```
//!
//! A request whose head is in transit is still answered. Over HTTP/1 hyper would close the connection in spite of it:
//! so the shutdown begins when the request has been answered, or did not arrive in time. Over HTTP/2 the shutdown
//! begins at once: hyper tells the client which requests will be answered (GOAWAY).

use super::phase::Phase;
use tokio::time::Instant;

/// How a connection is closed.
#[derive(Debug, PartialEq, Eq)]
pub enum Close {
    /// Normally: all was sent, if only hyper's answer to a malformed request.
    Complete,
    /// With status 408: a head did not arrive in time.
    HeadTimeout,
    /// With a reset: the client has left, or does not receive its answer.
    Reset,
}

impl Close {
    /// How to close a connection whose deadline has passed in this phase. `None`: by a graceful shutdown.
    pub fn after_deadline(phase: Phase, is_http2: bool, has_head_begun: bool, shutdown: &Shutdown) -> Option<Self> {
        match phase {
            Phase::ReadingHead if !is_http2 => Some(match has_head_begun {
                true => Self::HeadTimeout,
                // Without a request, the client would take the 408 for the answer to its next one.
                false => Self::Complete,
            }),
            Phase::Answering => Some(Self::Reset),
            Phase::ReadingHead | Phase::Idle => shutdown.has_begun.then_some(Self::Complete),
        }
    }
}

/// The graceful shutdown of a connection.
#[derive(Debug, Default)]
pub struct Shutdown {
    requested_at: Option<Instant>,
    has_begun: bool,
}

impl Shutdown {
    /// Requests it. A second request restarts `CLOSE_TIMEOUT`.
    pub fn request(&mut self, now: Instant) {
        self.requested_at = Some(now);
    }

    /// When it was last requested.
    pub fn requested_at(&self) -> Option<Instant> {
        self.requested_at
    }

    /// Does it begin now? Returns `true` once. With unread input in the socket, the next head may be in transit.
    #[inline]
    pub fn begins(&mut self, phase: Phase, is_http2: bool, has_unread: impl FnOnce() -> bool) -> bool {
        if self.requested_at.is_none() || self.has_begun {
            return false;
        }
        let is_head_in_transit = || match phase {
            Phase::ReadingHead => true,
            Phase::Idle => has_unread(),
            Phase::Answering => false,
        };
        self.has_begun = is_http2 || !is_head_in_transit();
        self.has_begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Phase::{Answering, Idle, ReadingHead};

    fn requested() -> Shutdown {
        let mut shutdown = Shutdown::default();
        shutdown.request(Instant::now());
        shutdown
    }

    #[test]
    fn a_shutdown_begins_only_when_it_was_requested_and_once() {
        assert!(!Shutdown::default().begins(Idle, false, || false));
        let mut shutdown = requested();
        assert!(shutdown.begins(Idle, false, || false));
        assert!(!shutdown.begins(Idle, false, || false));
    }

    #[test]
    fn a_head_that_is_on_its_way_over_http1_is_waited_for() {
        let mut shutdown = requested();
        assert!(!shutdown.begins(ReadingHead, false, || false));
        assert!(!shutdown.begins(Idle, false, || true));
        assert!(shutdown.begins(Answering, false, || true));
    }

    #[test]
    fn http2_sees_to_requests_on_their_way_itself() {
        for phase in [ReadingHead, Idle, Answering] {
            assert!(requested().begins(phase, true, || panic!("the socket need not be asked")));
        }
    }

    #[test]
    fn a_late_head_is_told_so_if_it_has_begun() {
        let after = |has_head_begun| Close::after_deadline(ReadingHead, false, has_head_begun, &Shutdown::default());
        assert_eq!(after(true), Some(Close::HeadTimeout));
        assert_eq!(after(false), Some(Close::Complete));
    }

    #[test]
    fn a_late_answer_is_cut_off() {
        for is_http2 in [false, true] {
            let close = Close::after_deadline(Answering, is_http2, false, &Shutdown::default());
            assert_eq!(close, Some(Close::Reset));
        }
    }

    #[test]
    fn an_idle_connection_is_shut_down_first_and_then_closed() {
        for (phase, is_http2) in [(Idle, false), (Idle, true), (ReadingHead, true)] {
            let mut shutdown = requested();
            assert_eq!(Close::after_deadline(phase, is_http2, false, &shutdown), None);
            shutdown.begins(Answering, is_http2, || false);
            let close = Close::after_deadline(phase, is_http2, false, &shutdown);
            assert_eq!(close, Some(Close::Complete));
        }
    }
}
