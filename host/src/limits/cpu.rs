//! CPU time: how much of it a guest has used, whether it computes, and when it is too much.
//!
//! Guests run on one thread, a slice after the other: a slice lasts from one `poll` to its return. Most guests answer
//! within microseconds, so the first slices are measured with the cheap clock, which also counts what other processes
//! took. What is known of a guest is its [`Pace`]:
//!
//! ```text
//!            slice < QUANTUM          slice < QUANTUM              (for good)
//!             +---------+              +---------+                 +---------+
//!             v         |              v         |                 v         |
//!   begins -> Brief ----+--> ... ---> Suspect ---+--> ... ----> Computing ---+
//!             wall clock  slice >=     CPU clock    slice >=     CPU clock
//!                         QUANTUM                   QUANTUM
//! ```
//!
//! A guest whose pace is `Computing` goes on in a second thread, where such guests take turns (`runtime/turns.rs`). One
//! whose instance is large begins there ([`LARGE`]), and so does one of a handler whose guests could not be interrupted
//! of late ([`History`]).

use super::ticks::{FIRST_TICK, ThreadSlot, enter, leave, now};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
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

/// How a guest uses the processor, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// All of its slices were shorter than a [`QUANTUM`], measured by the wall clock.
    Brief,
    /// One of them seemed long. From here on the CPU clock measures them.
    Suspect,
    /// One of them was long by the CPU clock, too.
    Computing,
}

impl Pace {
    const ALL: [Self; 3] = [Self::Brief, Self::Suspect, Self::Computing];

    /// The pace after one more slice, measured by the clock of this pace.
    fn after(self, slice: Duration) -> Self {
        match self {
            _ if slice < QUANTUM => self,
            Self::Brief => Self::Suspect,
            Self::Suspect | Self::Computing => Self::Computing,
        }
    }

    /// Does the CPU clock of the thread measure its slices? Reading it takes a system call.
    fn is_exact(self) -> bool {
        self != Self::Brief
    }
}

/// What one guest has used.
///
/// What comes after the first tick of a slice is exact, whatever its [`Pace`].
pub struct Meter {
    /// That of its handler.
    history: Arc<History>,
    /// How much it may use in all of its life; `None` as long as it does not run, and without a limit.
    limit: OnceLock<Box<dyn Fn() -> Option<Duration> + Send + Sync>>,
    /// Nanoseconds, without the slice that runs now.
    used: AtomicU64,
    /// What its clock said at the beginning of the slice that runs now.
    since: AtomicU64,
    /// A [`Pace`].
    pace: AtomicU8,
}

/// What is believed of a slice by the wall clock, which also counts what other processes took: as long as it takes to
/// the first tick, and what the thread has used since (`since_tick`).
fn believed(slice: Duration, since_tick: impl FnOnce() -> Duration) -> Duration {
    match slice <= FIRST_TICK {
        true => slice,
        false => slice.min(FIRST_TICK + since_tick()),
    }
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
        let pace = match cost.held > LARGE || cost.copied > LARGE_COPY {
            true => Pace::Computing,
            false => Pace::Brief,
        };
        Arc::new(Self {
            history,
            limit: OnceLock::new(),
            used: AtomicU64::new(0),
            since: AtomicU64::new(0),
            pace: AtomicU8::new(pace as u8),
        })
    }

    fn pace(&self) -> Pace {
        Pace::ALL[usize::from(self.pace.load(Relaxed))]
    }

    /// How long the slice that runs now has run.
    fn slice(&self, exact: bool) -> Duration {
        let slice = Duration::from_nanos(now(exact).saturating_sub(self.since.load(Relaxed)));
        match exact {
            true => slice,
            false => believed(slice, ThreadSlot::since_tick),
        }
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
        let slice = self.slice(self.pace().is_exact());
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
        self.pace() == Pace::Computing || self.history.is_late()
    }

    fn begin(&self) -> bool {
        ThreadSlot::begin();
        let exact = self.pace().is_exact();
        self.since.store(now(exact), Relaxed);
        exact
    }

    fn end(&self, exact: bool) {
        let slice = self.slice(exact);
        if slice >= QUANTUM {
            self.pace.store(self.pace().after(slice) as u8, Relaxed);
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_guest_computes_when_a_second_slice_is_long_by_the_exact_clock() {
        let mut pace = Pace::Brief;
        for (slice, after) in [
            (MS / 2, Pace::Brief),
            (MS, Pace::Suspect),
            (MS / 2, Pace::Suspect),
            (2 * MS, Pace::Computing),
            (MS / 2, Pace::Computing),
        ] {
            pace = pace.after(slice);
            assert_eq!(pace, after, "after {slice:?}");
        }
        assert!(!Pace::Brief.is_exact() && Pace::Suspect.is_exact());
    }

    #[test]
    fn of_the_wall_clock_no_more_is_believed_than_the_first_tick_and_what_was_used_since() {
        assert_eq!(believed(3 * MS, || unreachable!()), 3 * MS);
        // The machine was busy with others for 90 ms.
        assert_eq!(believed(100 * MS, || 6 * MS), FIRST_TICK + 6 * MS);
        assert_eq!(believed(5 * MS, || 6 * MS), 5 * MS);
    }

    fn meter(cost: InstanceCost) -> Arc<Meter> {
        Meter::new(Arc::default(), cost)
    }

    #[test]
    fn a_large_instance_begins_among_those_that_compute() {
        let cost = |held, copied| InstanceCost { held, copied };
        assert!(!meter(cost(LARGE, LARGE_COPY)).is_long_running());
        assert!(meter(cost(LARGE + 1, 0)).is_long_running());
        assert!(meter(cost(0, LARGE_COPY + 1)).is_long_running());
    }

    #[test]
    fn a_slice_that_could_not_be_interrupted_is_remembered_of_the_handler() {
        let history = Arc::new(History::default());
        let meter = Meter::new(history.clone(), InstanceCost::default());
        history.add(FIRST_LATE - MS, false);
        history.add(LATE - MS, true);
        assert!(!meter.is_long_running());
        history.add(LATE, true);
        assert!(meter.is_long_running());
        assert!(
            !self::meter(InstanceCost::default()).is_long_running(),
            "of another handler"
        );
    }

    #[test]
    fn the_limit_counts_the_slice_that_runs() {
        let meter = meter(InstanceCost::default());
        assert_eq!(meter.exceeded_with(100 * MS), None, "no limit");
        meter.bound(|| Some(10 * MS));
        assert_eq!(meter.exceeded_with(10 * MS), None);
        assert_eq!(meter.exceeded_with(11 * MS), Some(10 * MS));
        meter.used.store((11 * MS).as_nanos() as u64, Relaxed);
        assert_eq!(meter.exceeded(), Some(10 * MS));
    }
}
