//! State machine of a shared instance of WASI 0.3: when it takes requests, and when it is ended.
//!
//! ```text
//!                     take, if it may
//!                       ┌───┐
//!              take     ▼   │    the last slot is released
//!  (started) ────────► SERVING ────────────────────────────► VACANT ──────────────────────► ENDED
//!                       │   ▲              take                │   idle for IDLE_TIMEOUT, or
//!                       │   └──────────────────────────────────┘   post-return work for `timeout`
//!                       │ a request times out
//!                       ▼         the last slot is released
//!                    DRAINING ────────────────────────────────────────────────────────────► ENDED:
//!                                                                        one of its requests timed out
//! ```
//!
//! - SERVING: requests occupy slots. It takes another (`take`) within its limits (`reuse` requests in all,
//!   `concurrency` at a time), and only when it is *quiescent*: all of its tasks wait for something. An instance that
//!   is not quiescent may be computing, and a new request would have to wait for that.
//! - VACANT: no slot is occupied. The guest may have work to do for requests that it has answered
//!   (*post-return*); after that it is idle.
//! - DRAINING: as SERVING, but without new requests, because the guest may still be busy with the request that timed
//!   out. It lasts no longer than the time-outs of the other requests.
//!
//! The worker also ends the instance once it may take no more requests and all of its work is done.
//!
//! This is the state that the instance's worker keeps; handle.rs is the part that requests see from other threads.

use super::handle::InstanceHandle;
use super::request::{ActivityToken, Bounds, RequestSlot};
use std::mem::replace;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long an instance is kept that has nothing to do.
const IDLE_TIMEOUT: Duration = Duration::from_secs(1);

/// Grace added to a request's deadline on the instance's side, so that the request's task times out first.
const GRACE: Duration = Duration::from_millis(50);

/// The state of an instance, kept by its worker. Each method is an event or a query; none depends on Wasmtime or on
/// the clock.
pub struct InstanceState {
    instance: Arc<InstanceHandle>,
    bounds: Bounds,
    /// The slots of requests that were taken and not yet released.
    slots: Vec<Arc<RequestSlot>>,
    /// Held until the work for all requests is done.
    activity: Vec<ActivityToken>,
    phase: InstancePhase,
    /// All of the guest's tasks wait for something.
    is_quiescent: bool,
    /// The guest still has tasks for requests that it has answered.
    is_post_return: bool,
}

#[derive(Clone, Copy)]
enum InstancePhase {
    /// At least one slot is occupied, or the first is about to be.
    Serving,
    /// No slot is occupied, since that time.
    Vacant { since: Instant },
}

/// What the worker does next with a quiescent instance.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// Poll it again: it may take another request, or end.
    Poll,
    /// Review it again at the next event, or at this time at the latest.
    WaitUntil(Instant),
    /// Review it again at the next event.
    Wait,
    /// End it: it was idle for [`IDLE_TIMEOUT`], or had post-return work for `timeout`.
    GuestEnd,
    /// End it: one of its requests timed out.
    EndTimedOut,
}

impl InstanceState {
    pub fn new(instance: Arc<InstanceHandle>, bounds: Bounds) -> Self {
        Self {
            instance,
            bounds,
            slots: Vec::new(),
            activity: Vec::new(),
            phase: InstancePhase::Serving,
            is_quiescent: false,
            is_post_return: false,
        }
    }

    /// A request is handed to the guest.
    pub fn take(&mut self, slot: Arc<RequestSlot>, activity: ActivityToken) {
        slot.assign(&self.instance);
        self.instance.count_taken();
        self.slots.push(slot);
        self.activity.push(activity);
        self.phase = InstancePhase::Serving;
        // It may compute: no other request is taken before all of its tasks wait.
        self.is_quiescent = false;
    }

    /// May it take another request, now or later?
    pub fn can_take(&self) -> bool {
        self.instance.taken() < self.bounds.reuse
            && !self.instance.is_draining()
            && self.slots.len() < self.bounds.concurrency as usize
    }

    pub fn is_quiescent(&self) -> bool {
        self.is_quiescent
    }

    /// All calls of the guest have returned; `is_post_return`: it still has tasks.
    pub fn calls_returned(&mut self, is_post_return: bool) {
        self.is_post_return = is_post_return;
    }

    /// All of the guest's tasks wait for something. Returns whether that is new, so that it may take another request.
    pub fn becomes_quiescent(&mut self) -> bool {
        !replace(&mut self.is_quiescent, true)
    }

    /// Decides what to do with a quiescent instance.
    pub fn review(&mut self, now: Instant) -> Decision {
        let occupied = self.slots.len();
        self.drop_finished_slots(now);
        if self.slots.is_empty() {
            return self.review_vacant(now);
        }
        if self.slots.len() < occupied {
            // There is room for another request.
            return Decision::Poll;
        }
        let deadlines = self.slots.iter().filter_map(|slot| slot.deadline());
        deadlines
            .min()
            .map_or(Decision::Wait, |deadline| Decision::WaitUntil(deadline + GRACE))
    }

    /// Forgets the requests that were released or timed out.
    fn drop_finished_slots(&mut self, now: Instant) {
        let instance = &self.instance;
        self.slots.retain(|slot| {
            let is_timed_out = slot.deadline().is_some_and(|deadline| deadline + GRACE <= now);
            if is_timed_out {
                instance.drain();
            }
            !is_timed_out && !slot.is_released()
        });
    }

    fn review_vacant(&mut self, now: Instant) -> Decision {
        if self.instance.is_draining() {
            return Decision::EndTimedOut;
        }
        if !self.is_post_return {
            self.activity.clear();
        }
        let InstancePhase::Vacant { since } = self.phase else {
            self.phase = InstancePhase::Vacant { since: now };
            return Decision::Poll;
        };
        let patience = match self.is_post_return {
            true => self.bounds.timeout,
            false => Some(IDLE_TIMEOUT),
        };
        match patience.map(|patience| since + patience) {
            Some(over) if over <= now => Decision::GuestEnd,
            Some(over) => Decision::WaitUntil(over),
            None => Decision::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::http_p3::request::RequestGuard;

    const TIMEOUT: Duration = Duration::from_secs(10);
    const BOUNDS: Bounds = Bounds {
        reuse: 3,
        concurrency: 2,
        timeout: Some(TIMEOUT),
        cpu_time: None,
    };

    fn state(bounds: Bounds) -> InstanceState {
        InstanceState::new(Arc::default(), bounds)
    }

    /// Lets the instance take a request, which occupies its slot until the guard is dropped.
    fn take(state: &mut InstanceState) -> (RequestGuard, Instant) {
        let slot = RequestSlot::new(state.bounds.timeout);
        let deadline = slot.deadline().unwrap_or_else(Instant::now);
        state.take(slot.clone(), Box::new(()));
        (RequestGuard::new(slot), deadline)
    }

    /// An instance whose only request was released, and since when it is vacant.
    fn vacant(bounds: Bounds, is_post_return: bool) -> (InstanceState, Instant) {
        let (mut state, now) = (state(bounds), Instant::now());
        drop(take(&mut state));
        state.calls_returned(is_post_return);
        assert_eq!(state.review(now), Decision::Poll, "it may take another");
        (state, now)
    }

    #[test]
    fn it_takes_no_more_at_a_time_than_it_may() {
        let mut state = state(BOUNDS);
        let (first, _) = take(&mut state);
        assert!(state.can_take());
        let _second = take(&mut state);
        assert!(!state.can_take());
        drop(first);
        assert_eq!(state.review(Instant::now()), Decision::Poll, "there is room again");
        assert!(state.can_take());
    }

    #[test]
    fn it_takes_no_more_in_its_life_than_it_may() {
        let mut state = state(BOUNDS);
        for _ in 0..3 {
            assert!(state.can_take());
            drop(take(&mut state));
            state.review(Instant::now());
        }
        assert!(!state.can_take());
        assert_eq!(state.instance.taken(), 3);
    }

    #[test]
    fn it_is_not_quiescent_after_it_took_a_request() {
        let mut state = state(BOUNDS);
        assert!(state.becomes_quiescent());
        assert!(!state.becomes_quiescent(), "it is already");
        let _first = take(&mut state);
        assert!(!state.is_quiescent());
        assert!(state.becomes_quiescent());
        assert!(state.is_quiescent());
    }

    #[test]
    fn it_is_looked_at_when_its_first_request_should_be_over() {
        let mut state = state(BOUNDS);
        let (_first, deadline) = take(&mut state);
        let _second = take(&mut state);
        let review = state.review(deadline);
        assert_eq!(review, Decision::WaitUntil(deadline + GRACE));
    }

    #[test]
    fn without_a_timeout_it_waits_for_its_requests() {
        let mut state = state(Bounds {
            timeout: None,
            ..BOUNDS
        });
        let (_first, now) = take(&mut state);
        assert_eq!(state.review(now + TIMEOUT), Decision::Wait);
    }

    #[test]
    fn a_request_that_times_out_drains_it() {
        let mut state = state(Bounds {
            timeout: None,
            ..BOUNDS
        });
        let slot = RequestSlot::new(Some(TIMEOUT));
        let deadline = slot.deadline().unwrap();
        state.take(slot, Box::new(()));
        let (other, _) = take(&mut state);
        assert_eq!(state.review(deadline + GRACE), Decision::Poll);
        assert!(!state.can_take());
        assert_eq!(state.review(deadline + GRACE), Decision::Wait, "for the other");
        drop(other);
        assert_eq!(state.review(deadline + GRACE), Decision::EndTimedOut);
    }

    #[test]
    fn it_is_drained_at_once_when_the_task_of_a_request_timed_out() {
        let mut state = state(BOUNDS);
        let (first, _) = take(&mut state);
        let _second = take(&mut state);
        state.instance.drain();
        drop(first);
        assert!(!state.can_take());
        assert_eq!(state.review(Instant::now()), Decision::Poll);
        assert!(!state.can_take());
    }

    #[test]
    fn an_idle_instance_ends_after_a_while() {
        let (mut state, since) = vacant(BOUNDS, false);
        assert_eq!(state.review(since), Decision::WaitUntil(since + IDLE_TIMEOUT));
        assert_eq!(state.review(since + IDLE_TIMEOUT), Decision::GuestEnd);
    }

    #[test]
    fn post_return_work_may_take_as_long_as_a_request() {
        let (mut state, since) = vacant(BOUNDS, true);
        assert_eq!(state.review(since), Decision::WaitUntil(since + TIMEOUT));
        assert_eq!(state.review(since + TIMEOUT), Decision::GuestEnd);
        let unlimited = Bounds {
            timeout: None,
            ..BOUNDS
        };
        let (mut state, since) = vacant(unlimited, true);
        assert_eq!(state.review(since + TIMEOUT), Decision::Wait);
    }

    #[test]
    fn another_request_ends_the_wait_of_an_idle_instance() {
        let (mut state, since) = vacant(BOUNDS, false);
        let later = since + IDLE_TIMEOUT / 2;
        drop(take(&mut state));
        assert_eq!(state.review(later), Decision::Poll);
        assert_eq!(state.review(later), Decision::WaitUntil(later + IDLE_TIMEOUT));
    }

    #[test]
    fn activity_is_held_until_post_return_work_is_done() {
        let (mut state, since) = vacant(BOUNDS, true);
        assert_eq!(state.activity.len(), 1);
        state.calls_returned(false);
        state.review(since);
        assert!(state.activity.is_empty());
    }
}
