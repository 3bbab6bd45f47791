//! The deadlines of an HTTP connection. There is one at a time: that of its phase, or an earlier one because its bodies
//! stall.
//!
//! | phase | deadline | from |
//! |---|---|---|
//! | reading a head | `head-timeout` | accepted, or the head's first byte |
//! | answering, HTTP/1 | `timeout` + [`SEND_GRACE`] | the request's start |
//! | answering, HTTP/2 | none: each request has its own (see [`super::protocol`]) | |
//! | answering | `idle-connection-timeout` while a body is in transit | the last byte in either direction |
//! | idle | `keep-alive` | the end of the last answer |
//! | idle or reading a head | [`CLOSE_TIMEOUT`] in place of these | the request to shut down |

use super::phase::Phase;
use crate::config::{Http, Limits};
use std::time::Duration;
use tokio::time::Instant;

/// How long a client may take to receive its answer, beyond the time that its guest may take (`timeout`).
pub const SEND_GRACE: Duration = Duration::from_secs(2);

/// How long a connection may stay open, without a request being answered, after a shutdown was requested.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// What has to happen before a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Awaited {
    /// The end of a head.
    Head,
    /// The next request.
    NextRequest,
    /// The end of the answer.
    Answer,
    /// A byte of a body.
    BodyByte,
    /// The end of a connection that shuts down.
    Close,
}

/// When something has to have happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    pub at: Instant,
    pub awaited: Awaited,
}

impl Deadline {
    /// The earlier one of two; `first` of two at the same time.
    pub fn earlier(first: Option<Self>, second: Option<Self>) -> Option<Self> {
        first.into_iter().chain(second).min_by_key(|deadline| deadline.at)
    }
}

/// The timeout of each phase, from the configuration. `None`: there is none.
#[derive(Debug)]
pub struct PhaseDeadlines {
    head: Option<Duration>,
    answer: Option<Duration>,
    keep_alive: Option<Duration>,
}

impl PhaseDeadlines {
    /// The timeouts of a handler.
    pub fn new(http: &Http, limits: &Limits) -> Self {
        Self {
            head: http.head_timeout,
            answer: limits.timeout.map(|limit| limit + SEND_GRACE),
            keep_alive: http.keep_alive,
        }
    }

    /// The deadline of a `phase` that began at `since`; `shutdown_requested` is when a shutdown was requested.
    #[inline]
    pub fn of(
        &self,
        (phase, since): (Phase, Instant),
        is_http2: bool,
        shutdown_requested: Option<Instant>,
    ) -> Option<Deadline> {
        if let Some(requested) = shutdown_requested
            && phase != Phase::Answering
        {
            let (at, awaited) = (requested + CLOSE_TIMEOUT, Awaited::Close);
            return Some(Deadline { at, awaited });
        }
        let (limit, awaited) = match phase {
            Phase::Answering if is_http2 => return None,
            Phase::Answering => (self.answer, Awaited::Answer),
            Phase::ReadingHead => (self.head, Awaited::Head),
            Phase::Idle => (self.keep_alive, Awaited::NextRequest),
        };
        // A deadline that overflows is none.
        let at = since.checked_add(limit?)?;
        Some(Deadline { at, awaited })
    }
}

/// Detects bodies in transit that stall (`idle-connection-timeout`). While a guest computes and no body is in transit,
/// only `timeout` limits it.
#[derive(Debug)]
pub struct StallTimer {
    limit: Option<Duration>,
    /// Bytes of the connection at the last check, in both directions.
    moved: u64,
    /// Since when that number has not changed.
    since: Option<Instant>,
}

impl StallTimer {
    /// `None`: no limit.
    pub fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            moved: 0,
            since: None,
        }
    }

    /// When the bodies in transit will have stalled for too long, unless a byte is transferred before. `bodies` is how
    /// many are in transit, `moved` how many bytes the connection has transferred so far, in both directions.
    #[inline]
    pub fn deadline(&mut self, bodies: usize, moved: u64, now: impl FnOnce() -> Instant) -> Option<Deadline> {
        let limit = self.limit?;
        if bodies == 0 {
            self.since = None;
            return None;
        }
        if moved != self.moved {
            self.moved = moved;
            self.since = None;
        }
        let at = self.since.get_or_insert_with(now).checked_add(limit)?;
        let awaited = Awaited::BodyByte;
        Some(Deadline { at, awaited })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn deadlines() -> PhaseDeadlines {
        PhaseDeadlines {
            head: Some(10 * S),
            answer: Some(30 * S + SEND_GRACE),
            keep_alive: Some(60 * S),
        }
    }

    fn after(start: Instant, limit: Duration, awaited: Awaited) -> Option<Deadline> {
        let at = start + limit;
        Some(Deadline { at, awaited })
    }

    #[test]
    fn each_phase_has_its_own() {
        let (deadlines, start) = (deadlines(), Instant::now());
        let of = |phase, is_http2| deadlines.of((phase, start), is_http2, None);
        for is_http2 in [false, true] {
            assert_eq!(of(Phase::ReadingHead, is_http2), after(start, 10 * S, Awaited::Head));
            assert_eq!(of(Phase::Idle, is_http2), after(start, 60 * S, Awaited::NextRequest));
        }
        assert_eq!(of(Phase::Answering, false), after(start, 32 * S, Awaited::Answer));
        assert_eq!(of(Phase::Answering, true), None);
    }

    #[test]
    fn a_shutdown_replaces_all_but_that_of_an_answer() {
        let (deadlines, start) = (deadlines(), Instant::now());
        let of = |phase| deadlines.of((phase, start), false, Some(start + S));
        let close = after(start + S, CLOSE_TIMEOUT, Awaited::Close);
        assert_eq!(of(Phase::ReadingHead), close);
        assert_eq!(of(Phase::Idle), close);
        assert_eq!(of(Phase::Answering), after(start, 32 * S, Awaited::Answer));
    }

    #[test]
    fn what_is_not_configured_or_too_far_away_is_no_deadline() {
        let (mut deadlines, start) = (deadlines(), Instant::now());
        deadlines.keep_alive = None;
        deadlines.head = Some(Duration::MAX);
        assert_eq!(deadlines.of((Phase::Idle, start), false, None), None);
        assert_eq!(deadlines.of((Phase::ReadingHead, start), false, None), None);
    }

    #[test]
    fn the_earlier_counts_and_of_two_at_once_the_first() {
        let start = Instant::now();
        let stall = after(start, S, Awaited::BodyByte);
        let answer = |limit| after(start, limit, Awaited::Answer);
        assert_eq!(Deadline::earlier(stall, answer(2 * S)), stall);
        assert_eq!(Deadline::earlier(stall, answer(S)), stall);
        assert_eq!(Deadline::earlier(stall, answer(S / 2)), answer(S / 2));
        assert_eq!(Deadline::earlier(None, stall), stall);
        assert_eq!(Deadline::earlier(None, None), None);
    }

    #[test]
    fn a_body_stalls_from_the_last_byte_on() {
        let (mut timer, start) = (StallTimer::new(Some(5 * S)), Instant::now());
        let mut at = |seconds: u32, bodies, moved| timer.deadline(bodies, moved, || start + seconds * S);
        assert_eq!(at(1, 1, 10), after(start, 6 * S, Awaited::BodyByte));
        assert_eq!(at(2, 1, 10), after(start, 6 * S, Awaited::BodyByte));
        assert_eq!(at(3, 2, 11), after(start, 8 * S, Awaited::BodyByte));
    }

    #[test]
    fn without_a_body_nothing_stalls() {
        let (mut timer, start) = (StallTimer::new(Some(5 * S)), Instant::now());
        assert!(timer.deadline(1, 10, || start).is_some());
        assert_eq!(timer.deadline(0, 10, || start + S), None);
        // The next body's time begins anew.
        let next = timer.deadline(1, 10, || start + 9 * S);
        assert_eq!(next, after(start, 14 * S, Awaited::BodyByte));
        assert_eq!(StallTimer::new(None).deadline(1, 10, || start), None);
    }
}
