//! CPU accounting: measures the CPU time of a guest, detects guests that compute, enforces `cpu-time`.
//!
//! The guests of a thread run in slices: a slice lasts from one `poll` to its return. Most guests answer within
//! microseconds, so the first slices are measured with the wall clock, which is cheap but also counts the time of
//! other processes. The [`Pace`] of a guest is the state of this measurement:
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
//! A guest whose pace is `Computing` continues in a second thread, which such guests share by time slices
//! (`runtime/turns.rs`). A guest with a large instance begins there ([`LARGE`]), and so does a guest of a handler
//! whose guests recently could not be interrupted in time ([`History`]).

use super::ticks::{FIRST_TICK, ThreadSlot, enter, leave, now};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use wasm_sock_engine::InstanceCost;

/// The longest slice before a guest is preempted, plus or minus a tick; for the first guest after a pause,
/// [`FIRST_TICK`].
const QUANTUM: Duration = Duration::from_millis(1);

/// A slice of this length means that the guest could not be interrupted in time: a single instruction fills or copies
/// all of its memory, the garbage collector runs, or the host works in a call. Normally a slice is interrupted after
/// a [`QUANTUM`]; the first one after a pause, after the [`FIRST_TICK`].
const LATE: Duration = Duration::from_millis(3);
const FIRST_LATE: Duration = Duration::from_millis(8);

/// How long guests of a handler begin in the second thread after such a slice.
const HISTORY_TTL: Duration = Duration::from_secs(60);

/// Whether guests of a handler recently could not be interrupted in time.
#[derive(Default)]
pub struct History {
    /// Until when new guests begin in the second thread: nanoseconds of the monotonic clock.
    late_until: AtomicU64,
}

impl History {
    fn add(&self, slice: Duration, exact: bool) {
        if slice >= if exact { LATE } else { FIRST_LATE } {
            let until = now(false) + HISTORY_TTL.as_nanos() as u64;
            self.late_until.store(until, Relaxed);
        }
    }

    fn is_late(&self) -> bool {
        let until = self.late_until.load(Relaxed);
        until != 0 && now(false) < until
    }
}

/// Whether a guest computes, as far as that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// All of its slices were shorter than a [`QUANTUM`], measured by the wall clock.
    Brief,
    /// One of them was long by the wall clock. From here on the CPU clock measures them.
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

/// Measures the CPU time of one guest, and keeps the most memory that it used ([`super::Budget`]).
///
/// From the first tick of a slice on, the measurement is exact at every [`Pace`].
pub struct Meter {
    /// The history of its handler.
    history: Arc<History>,
    /// Gives the limit of CPU time for the guest's whole life; `None` if there is no limit. Not set before the store
    /// exists.
    limit: OnceLock<Box<dyn Fn() -> Option<Duration> + Send + Sync>>,
    /// CPU time in nanoseconds, without the current slice.
    used: AtomicU64,
    /// Its clock at the beginning of the current slice, in nanoseconds.
    since: AtomicU64,
    /// A [`Pace`].
    pace: AtomicU8,
    /// The most memory that was in use at a time, in bytes.
    memory_peak: AtomicU64,
}

/// The CPU time that is counted for a slice measured by the wall clock, which includes the time of other processes:
/// at most the time to the first tick, plus the CPU time of the thread after that (`since_tick`).
fn believed(slice: Duration, since_tick: impl FnOnce() -> Duration) -> Duration {
    match slice <= FIRST_TICK {
        true => slice,
        false => slice.min(FIRST_TICK + since_tick()),
    }
}

/// An instance that takes this many bytes, or to which this many are copied, is created in the second thread.
const LARGE: u32 = 4 << 20;
const LARGE_COPY: u32 = 16 << 20;

/// What happens to a running guest at a timer tick.
pub enum Turn {
    Continue,
    Yield,
    /// End it: it has used more CPU time than this limit.
    Exceeded(Duration),
}

impl Meter {
    /// CPU time that the guest has used.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Relaxed))
    }

    /// The most memory that the guest used at a time, in bytes: memories, tables, handles and its instance.
    pub fn memory_peak(&self) -> u64 {
        self.memory_peak.load(Relaxed)
    }

    /// The guest uses this many bytes now. Called in the thread that the guest runs in.
    pub(super) fn see_memory(&self, bytes: usize) {
        let bytes = bytes as u64;
        if bytes > self.memory_peak.load(Relaxed) {
            self.memory_peak.store(bytes, Relaxed);
        }
    }

    /// The meter of a guest of the handler with this `history`, whose instance takes `cost`.
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
            memory_peak: AtomicU64::new(0),
        })
    }

    fn pace(&self) -> Pace {
        Pace::ALL[usize::from(self.pace.load(Relaxed))]
    }

    /// The length of the current slice so far.
    fn slice(&self, exact: bool) -> Duration {
        let slice = Duration::from_nanos(now(exact).saturating_sub(self.since.load(Relaxed)));
        match exact {
            true => slice,
            false => believed(slice, ThreadSlot::since_tick),
        }
    }

    /// Sets the limit of CPU time for the guest's whole life. Called once.
    pub fn bound(&self, limit: impl Fn() -> Option<Duration> + Send + Sync + 'static) {
        // There is one store for each meter.
        let _ = self.limit.set(Box::new(limit));
    }

    /// The limit, if the guest has exceeded it (which may happen in a host call, without a tick).
    pub fn exceeded(&self) -> Option<Duration> {
        self.exceeded_with(Duration::ZERO)
    }

    /// As [`Self::exceeded`], including the current `slice`.
    fn exceeded_with(&self, slice: Duration) -> Option<Duration> {
        let limit = self.limit.get().and_then(|limit| limit());
        limit.filter(|limit| self.used() + slice > *limit)
    }

    /// Called in the guest's thread at each tick, while the guest runs.
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

    /// Does the guest compute, or is it likely to?
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

/// The future that runs a guest; measures its CPU time, and keeps the timer running during each poll.
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

    // Otherwise the code of the whole run would be inlined at each place that polls it.
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
        // Other processes used the processor for 90 ms.
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
