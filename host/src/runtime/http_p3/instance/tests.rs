use super::*;
use crate::runtime::http_p3::request::{InstanceActivity, RequestGuard};
use crate::runtime::outcome::Cause;
use crate::sync::lock;
use std::sync::Mutex;

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

/// What was counted for the instance.
#[derive(Clone, Default)]
struct Counted(Arc<Mutex<Vec<String>>>);

impl InstanceActivity for Counted {
    fn goes_on(&mut self) {
        lock(&self.0).push("goes on".to_owned());
    }

    fn ends(&mut self, cause: Option<&Cause>) {
        let why = cause.map_or("done", |cause| &cause.why);
        lock(&self.0).push(why.to_owned());
    }
}

impl Counted {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0))
    }
}

/// Lets the instance take a request, which occupies its slot until the guard is dropped.
fn take(state: &mut InstanceState) -> (RequestGuard, Instant) {
    take_counted(state, &Counted::default())
}

fn take_counted(state: &mut InstanceState, counted: &Counted) -> (RequestGuard, Instant) {
    let slot = RequestSlot::new(state.bounds.timeout);
    let deadline = slot.deadline().unwrap_or_else(Instant::now);
    state.take(slot.clone(), Box::new(counted.clone()));
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
    state.take(slot, Box::new(Counted::default()));
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
    assert_eq!(state.review(since + TIMEOUT), Decision::EndPostReturn);
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
fn post_return_work_is_counted_until_it_is_done() {
    let (mut state, counted, now) = (state(BOUNDS), Counted::default(), Instant::now());
    drop(take_counted(&mut state, &counted));
    state.calls_returned(true);
    state.review(now);
    assert_eq!(counted.take(), [""; 0], "it may be over at once");
    state.review(now);
    state.review(now);
    assert_eq!(counted.take(), ["goes on"]);
    // Another request takes nothing away from it, and is counted by itself.
    let (other, _) = take_counted(&mut state, &counted);
    state.review(now);
    drop(other);
    state.review(now);
    state.review(now);
    assert_eq!(counted.take(), [""; 0]);
    state.calls_returned(false);
    assert_eq!(counted.take(), ["done"]);
}

#[test]
fn post_return_work_that_is_ended_learns_why() {
    let (mut state, counted, now) = (state(BOUNDS), Counted::default(), Instant::now());
    drop(take_counted(&mut state, &counted));
    state.calls_returned(true);
    state.review(now);
    state.review(now);
    state.ended(&GuestEnd::Trap(Cause::trap("unreachable")));
    assert_eq!(counted.take(), ["goes on", "unreachable"]);
}

#[test]
fn a_request_without_post_return_work_counts_for_nothing_after_its_answer() {
    let (mut state, counted, now) = (state(BOUNDS), Counted::default(), Instant::now());
    drop(take_counted(&mut state, &counted));
    state.calls_returned(false);
    state.review(now);
    state.review(now);
    state.ended(&GuestEnd::Exit(0));
    assert_eq!(counted.take(), [""; 0]);
    assert_eq!(Arc::strong_count(&counted.0), 1, "it is held");
}

#[test]
fn an_instance_that_is_never_without_work_takes_no_more_requests() {
    let mut state = state(Bounds { reuse: 100, ..BOUNDS });
    let (first, deadline) = take(&mut state);
    state.calls_returned(true);
    let (second, _) = take(&mut state);
    drop(first);
    state.review(deadline - TIMEOUT / 2);
    assert!(state.can_take());
    state.review(deadline);
    assert!(!state.can_take());
    drop(second);
    let mut rested = super::tests::state(Bounds { reuse: 100, ..BOUNDS });
    let (first, deadline) = take(&mut rested);
    drop(first);
    rested.calls_returned(false);
    rested.review(deadline);
    assert!(rested.can_take(), "it had nothing to do in between");
}
