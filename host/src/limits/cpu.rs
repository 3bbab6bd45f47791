//! CPU time: how much of it a guest has used, whether it computes, and when it is too much.
//!
//! Guests run on one thread. A guest that computes for longer than a [`QUANTUM`] is interrupted ([`super::ticks`])
//! and goes on in a second thread (`runtime/turns.rs`).

use super::ticks::{FIRST_TICK, Slot, enter, leave, now};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use wasm_sock_engine::InstanceCost;

/// The longest that a guest keeps the others waiting, give or take a tick; the first one, [`FIRST_TICK`].
const QUANTUM: Duration = Duration::from_millis(1);

/// A slice so long shows a guest that cannot be interrupted when it should: a single instruction fills or copies
/// all of its memory, objects are collected, or a call makes the host do so. One that is measured from its
/// beginning is interrupted after a [`QUANTUM`]; the first one, after the [`FIRST_TICK`].
const LATE: Duration = Duration::from_millis(3);
const FIRST_LATE: Duration = Duration::from_millis(8);

/// How long that is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);

/// How the guests of a handler have kept others waiting.
#[derive(Default)]
pub struct History {
    /// Until when the next ones begin among those that compute: nanoseconds of the monotonic clock.
    late_until: AtomicU64,
}

impl History {
    fn add(&self, slice: Duration, exact: bool) {
        if slice >= if exact { LATE } else { FIRST_LATE } {
            let until = now(false) + REMEMBERED.as_nanos() as u64;
            self.late_until.store(until, Relaxed);
        }
    }

    fn is_late(&self) -> bool {
        let until = self.late_until.load(Relaxed);
        until != 0 && now(false) < until
    }
}

/// What one guest has used.
///
/// Slices shorter than a quantum are measured by the wall clock, which reads too much when the
/// machine is busy with others; what comes after the first tick of a slice is exact. From its first long slice
/// on all of a guest's time is, and a second one shows that it computes.
pub struct Meter {
    /// That of its handler.
    history: Arc<History>,
    /// How much it may use in all of its life; `None` as long as it does not run, and without a limit.
    limit: OnceLock<Box<dyn Fn() -> Option<Duration> + Send + Sync>>,
    /// Nanoseconds, without the slice that runs now.
    used: AtomicU64,
    /// What its clock said at the beginning of the slice that runs now.
    since: AtomicU64,
    /// Has it had a slice that seemed long?
    is_exact: AtomicBool,
    /// Did it compute for longer than a quantum?
    long_running: AtomicBool,
}

/// An instance that takes so many bytes, or to which so many are copied, is made where guests compute.
const LARGE: u32 = 4 << 20;
const LARGE_COPY: u32 = 16 << 20;

/// What is to be done about a guest that runs when the clock ticks.
pub enum Turn {
    Continue,
    Yield,
    /// It has used more CPU time than it was allowed, which is so much.
    Exceeded(Duration),
}

impl Meter {
    /// CPU time the guest has used.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Relaxed))
    }

    /// The meter of a guest of the handler with this history, whose instance takes so much.
    pub fn new(history: Arc<History>, cost: InstanceCost) -> Arc<Self> {
        let is_large = cost.held > LARGE || cost.copied > LARGE_COPY;
        Arc::new(Self {
            history,
            limit: OnceLock::new(),
            used: AtomicU64::new(0),
            since: AtomicU64::new(0),
            is_exact: AtomicBool::new(is_large),
            long_running: AtomicBool::new(is_large),
        })
    }

    /// How long the slice that runs now has run. No more is believed of the wall clock than it takes to the
    /// first tick.
    fn slice(&self, exact: bool) -> Duration {
        let slice = Duration::from_nanos(now(exact).saturating_sub(self.since.load(Relaxed)));
        if exact || slice <= FIRST_TICK {
            return slice;
        }
        slice.min(FIRST_TICK + Slot::since_tick())
    }

    /// Bounds the CPU time of all of the guest's life. Done once.
    pub fn bound(&self, limit: impl Fn() -> Option<Duration> + Send + Sync + 'static) {
        // There is one store for each meter.
        let _ = self.limit.set(Box::new(limit));
    }

    /// The limit, if the guest has used more: a call that makes the host work for it may last beyond that.
    pub fn exceeded(&self) -> Option<Duration> {
        self.exceeded_with(Duration::ZERO)
    }

    /// The same with a `slice` that runs.
    fn exceeded_with(&self, slice: Duration) -> Option<Duration> {
        let limit = self.limit.get().and_then(|limit| limit());
        limit.filter(|limit| self.used() + slice > *limit)
    }

    /// Called on the guest's thread, while it runs.
    pub fn tick(&self) -> Turn {
        let exact = self.is_exact.load(Relaxed);
        let slice = self.slice(exact);
        if let Some(limit) = self.exceeded_with(slice) {
            Turn::Exceeded(limit)
        } else if slice >= QUANTUM {
            Turn::Yield
        } else {
            Turn::Continue
        }
    }

    /// Does it compute, or is it likely to?
    pub fn is_long_running(&self) -> bool {
        self.long_running.load(Relaxed) || self.history.is_late()
    }

    fn begin(&self) -> bool {
        Slot::begin();
        let exact = self.is_exact.load(Relaxed);
        self.since.store(now(exact), Relaxed);
        exact
    }

    fn end(&self, exact: bool) {
        let slice = self.slice(exact);
        if slice >= QUANTUM {
            self.is_exact.store(true, Relaxed);
            self.long_running.fetch_or(exact, Relaxed);
            self.history.add(slice, exact);
        }
        self.used.fetch_add(slice.as_nanos() as u64, Relaxed);
    }
}

/// A guest's life, with its CPU time measured and the clock ticking while it runs.
pub struct Metered<F> {
    guest: Pin<Box<F>>,
    meter: Arc<Meter>,
}

impl<F: Future> Metered<F> {
    pub fn new(guest: F, meter: Arc<Meter>) -> Self {
        Self {
            guest: Box::pin(guest),
            meter,
        }
    }
}

impl<F: Future> Future for Metered<F> {
    type Output = F::Output;

    // All of a guest's run would be in each place that polls it.
    #[inline(never)]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let exact = self.meter.begin();
        enter();
        let poll = self.guest.as_mut().poll(context);
        leave();
        self.meter.end(exact);
        poll
    }
}
