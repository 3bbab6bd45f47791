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
//!   (*post-return*), which counts as in flight and may take as long as a request; after that it is idle.
//! - DRAINING: as SERVING, but without new requests, because the guest may still be busy with the request that timed
//!   out. It lasts no longer than the time-outs of the other requests.
//!
//! The worker also ends the instance once it may take no more requests and all of its work is done.
//!
//! Whose work goes on, Wasmtime does not tell, only whether there is any. So an instance that was never seen without
//! work for `timeout` is *retired*: it takes no more requests, and what goes on is over at the latest when the requests
//! that it has are, and `timeout` after that.
//!
//! This is the state that the instance's worker keeps; handle.rs is the part that requests see from other threads.

#[cfg(test)]
mod tests;

use super::handle::InstanceHandle;
use super::request::{ActivityToken, Bounds, RequestSlot};
use crate::runtime::outcome::GuestEnd;
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
    slots: Vec<(Arc<RequestSlot>, ActivityToken)>,
    /// That of the request that was released last, until it is known whether its work goes on.
    last: Option<ActivityToken>,
    /// That of the work which goes on after the answers.
    post_return: Option<ActivityToken>,
    /// When it is retired, unless all of its work is done before.
    retires: Option<Instant>,
    is_retired: bool,
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
    /// End it: it was idle for [`IDLE_TIMEOUT`].
    GuestEnd,
    /// End it: it had post-return work for `timeout`.
    EndPostReturn,
    /// End it: one of its requests timed out.
    EndTimedOut,
}

impl InstanceState {
    pub fn new(instance: Arc<InstanceHandle>, bounds: Bounds) -> Self {
        Self {
            instance,
            bounds,
            slots: Vec::new(),
            last: None,
            post_return: None,
            retires: None,
            is_retired: false,
            phase: InstancePhase::Serving,
            is_quiescent: false,
            is_post_return: false,
        }
    }

    /// A request is handed to the guest.
    pub fn take(&mut self, slot: Arc<RequestSlot>, activity: ActivityToken) {
        slot.assign(&self.instance);
        self.instance.count_taken();
        self.retires = self.retires.or(slot.deadline());
        self.slots.push((slot, activity));
        self.last = None;
        self.phase = InstancePhase::Serving;
        // It may compute: no other request is taken before all of its tasks wait.
        self.is_quiescent = false;
    }

    /// May it take another request, now or later?
    pub fn can_take(&self) -> bool {
        self.instance.taken() < self.bounds.reuse
            && !self.is_retired
            && !self.instance.is_draining()
            && self.slots.len() < self.bounds.concurrency as usize
    }

    pub fn is_quiescent(&self) -> bool {
        self.is_quiescent
    }

    /// All calls of the guest have returned; `is_post_return`: it still has tasks.
    pub fn calls_returned(&mut self, is_post_return: bool) {
        self.is_post_return = is_post_return;
        if !is_post_return {
            self.retires = None;
            self.end_post_return(None);
        }
    }

    /// The instance has ended.
    pub fn ended(&mut self, end: &GuestEnd) {
        self.end_post_return(Some(end));
    }

    fn end_post_return(&mut self, end: Option<&GuestEnd>) {
        if let Some(mut activity) = self.post_return.take() {
            activity.ends(end.and_then(GuestEnd::cause));
        }
    }

    /// All of the guest's tasks wait for something. Returns whether that is new, so that it may take another request.
    pub fn becomes_quiescent(&mut self) -> bool {
        !replace(&mut self.is_quiescent, true)
    }

    /// Decides what to do with a quiescent instance.
    pub fn review(&mut self, now: Instant) -> Decision {
        let occupied = self.slots.len();
        self.is_retired |= self.retires.is_some_and(|retires| retires <= now);
        self.drop_finished_slots(now);
        if self.slots.is_empty() {
            return self.review_vacant(now);
        }
        if self.slots.len() < occupied {
            // There is room for another request.
            return Decision::Poll;
        }
        let deadlines = self.slots.iter().filter_map(|(slot, _)| slot.deadline());
        deadlines
            .min()
            .map_or(Decision::Wait, |deadline| Decision::WaitUntil(deadline + GRACE))
    }

    /// Forgets the requests that were released or timed out.
    fn drop_finished_slots(&mut self, now: Instant) {
        let instance = &self.instance;
        let finished = self.slots.extract_if(.., |(slot, _)| {
            let is_timed_out = slot.deadline().is_some_and(|deadline| deadline + GRACE <= now);
            if is_timed_out {
                instance.drain();
            }
            is_timed_out || slot.is_released()
        });
        if let Some((_, activity)) = finished.last() {
            self.last = Some(activity);
        }
        if !self.slots.is_empty() {
            // Its requests count for it.
            self.last = None;
        }
    }

    fn review_vacant(&mut self, now: Instant) -> Decision {
        if self.instance.is_draining() {
            return Decision::EndTimedOut;
        }
        let InstancePhase::Vacant { since } = self.phase else {
            self.phase = InstancePhase::Vacant { since: now };
            return Decision::Poll;
        };
        if !self.is_post_return {
            self.last = None;
            return wait_or(Decision::GuestEnd, Some(since + IDLE_TIMEOUT), now);
        }
        let last = self.last.take();
        if self.post_return.is_none()
            && let Some(mut activity) = last
        {
            activity.goes_on();
            self.post_return = Some(activity);
        }
        let over = self.bounds.timeout.map(|timeout| since + timeout);
        wait_or(Decision::EndPostReturn, over, now)
    }
}

fn wait_or(end: Decision, deadline: Option<Instant>, now: Instant) -> Decision {
    match deadline {
        Some(deadline) if deadline <= now => end,
        Some(deadline) => Decision::WaitUntil(deadline),
        None => Decision::Wait,
    }
}
