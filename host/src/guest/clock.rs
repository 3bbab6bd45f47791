//! CPU time: who uses how much of it, and taking turns.
//!
//! Guests run on one thread. A guest that computes for longer than a [`QUANTUM`] is interrupted and
//! goes on in a second thread, made when the first such guest appears: there, guests that compute
//! take turns, and those that only answer never wait for them.
//!
//! The interruption is Wasmtime's epoch, moved on by a timer signal and not by a thread: the timer
//! costs one system call to start, and it runs only while guests do. An idle host does not tick.

use std::future::Future;
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst,
};
use std::sync::{Mutex, Once};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;
use wasmtime::Engine;

/// How often running guests are looked at.
const TICK: Duration = Duration::from_millis(1);

/// When they are looked at first, after there was none. Most are gone by then, and a timer that is sooner
/// than the kernel's own (`CONFIG_HZ`, which is 250 mostly) has to be told to the processor: 6 µs in a
/// virtual machine.
const FIRST_TICK: Duration = Duration::from_millis(4);

/// The longest that a guest keeps the others waiting, give or take a tick; the first one, [`FIRST_TICK`].
const QUANTUM: Duration = Duration::from_millis(1);

/// Engines whose epoch the timer moves on: two of the process, and those of pools. Each is a box of
/// its own, which is read by the signal and is changed under the lock.
static ENGINES: [AtomicPtr<Engine>; 128] = [const { AtomicPtr::new(ptr::null_mut()) }; 128];
static CHANGES: Mutex<()> = Mutex::new(());

/// Signals that are reading [`ENGINES`] this very moment.
static READERS: AtomicU32 = AtomicU32::new(0);

/// The timer moves on the epoch of an engine for as long as this lives.
pub struct Ticks(&'static AtomicPtr<Engine>);

impl Drop for Ticks {
    fn drop(&mut self) {
        let changes = CHANGES.lock();
        let engine = self.0.swap(ptr::null_mut(), SeqCst);
        // A signal that came before may still have it. It takes a microsecond.
        while READERS.load(SeqCst) > 0 {
            thread::yield_now();
        }
        drop(changes);
        // SAFETY: `start` made it, and nobody else can have it any more.
        drop(unsafe { Box::from_raw(engine) });
    }
}

/// Guests that are running this very moment, one a thread at most.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// Has a guest run since the last tick?
static RAN: AtomicBool = AtomicBool::new(false);

/// Is the timer running?
static TICKING: AtomicBool = AtomicBool::new(false);

/// Makes the timer move on the epoch of `engine`. `None`: it does so already.
pub fn start(engine: &Engine) -> Option<Ticks> {
    static HANDLED: Once = Once::new();
    HANDLED.call_once(handle_signal);
    let _changes = CHANGES.lock();
    let mut free = None;
    for slot in &ENGINES {
        // SAFETY: it is there until somebody else has the lock.
        match unsafe { slot.load(SeqCst).as_ref() } {
            Some(other) if Engine::same(other, engine) => return None,
            Some(_) => {}
            None => free = free.or(Some(slot)),
        }
    }
    let slot = free.expect("fewer pools than places for engines");
    slot.store(Box::into_raw(Box::new(engine.clone())), SeqCst);
    Some(Ticks(slot))
}

fn handle_signal() {
    // SAFETY: `on_tick` does only what `signal-safety(7)` allows; a zeroed sigaction is valid, and
    // SA_ONSTACK and SA_RESTART keep the signal from being noticed by whatever it interrupts.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_tick as *const () as usize;
        action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK;
        libc::sigaction(libc::SIGALRM, &action, std::ptr::null_mut());
        // Whoever started us may have blocked it.
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGALRM);
        libc::pthread_sigmask(libc::SIG_UNBLOCK, &set, std::ptr::null_mut());
    }
}

/// Atomics, an epoch increment (documented as signal-safe), and setitimer, a bare system call.
extern "C" fn on_tick(_signal: libc::c_int) {
    READERS.fetch_add(1, SeqCst);
    for slot in &ENGINES {
        // SAFETY: whoever takes it out waits for the readers before it is freed.
        if let Some(engine) = unsafe { slot.load(SeqCst).as_ref() } {
            engine.increment_epoch();
        }
    }
    READERS.fetch_sub(1, SeqCst);
    // While guests come and go, the timer is not stopped and started for each.
    if RUNNING.load(SeqCst) == 0 && !RAN.swap(false, SeqCst) {
        set_timer(Duration::ZERO, Duration::ZERO);
        TICKING.store(false, SeqCst);
        // A guest that began in between saw the timer running, and relies on it.
        if RUNNING.load(SeqCst) != 0 {
            ensure_ticking();
        }
    }
}

fn ensure_ticking() {
    if !TICKING.swap(true, SeqCst) {
        set_timer(FIRST_TICK, TICK);
    }
}

fn set_timer(first: Duration, interval: Duration) {
    let time = |time: Duration| libc::timeval {
        tv_sec: 0,
        tv_usec: time.subsec_micros().into(),
    };
    let timer = libc::itimerval {
        it_interval: time(interval),
        it_value: time(first),
    };
    // SAFETY: setitimer(2) only reads the value it is given. It fails for bad values only.
    unsafe {
        libc::setitimer(libc::ITIMER_REAL, &timer, std::ptr::null_mut());
    }
}

/// Nanoseconds: when `exact`, of CPU time that this thread has used, which takes a system call and
/// not a cheap one; else since some moment, for a fiftieth of the price.
fn now(exact: bool) -> u64 {
    let clock = if exact {
        libc::CLOCK_THREAD_CPUTIME_ID
    } else {
        libc::CLOCK_MONOTONIC
    };
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime(2) writes the time it is given; both clocks exist.
    unsafe {
        libc::clock_gettime(clock, &mut time);
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What one guest has used.
///
/// Slices shorter than a quantum are measured by the wall clock, which reads too much when the
/// machine is busy with others, though never more than until the [`FIRST_TICK`]. From its first long slice
/// on a guest's time is exact, and a second one shows that it computes.
#[derive(Default)]
pub struct Meter {
    /// Nanoseconds, without the slice that runs now.
    used: AtomicU64,
    /// What its clock said at the beginning of the slice that runs now.
    since: AtomicU64,
    /// Has it had a slice that seemed long?
    is_exact: AtomicBool,
    /// Did it compute for longer than a quantum?
    long_running: AtomicBool,
}

/// What is to be done about a guest that runs when the clock ticks.
pub enum Turn {
    Continue,
    Yield,
    /// It has used more CPU time than it was allowed.
    Exceeded,
}

impl Meter {
    /// CPU time the guest has used.
    pub fn used(&self) -> Duration {
        Duration::from_nanos(self.used.load(Relaxed))
    }

    /// How long the slice that runs now has run. No more is believed of the wall clock than it takes to the
    /// first tick.
    fn slice(&self, exact: bool) -> Duration {
        let slice = Duration::from_nanos(now(exact).saturating_sub(self.since.load(Relaxed)));
        if exact { slice } else { slice.min(FIRST_TICK) }
    }

    /// Called on the guest's thread, while it runs. `limit` is its CPU time for all of its life.
    pub fn tick(&self, limit: Option<Duration>) -> Turn {
        let exact = self.is_exact.load(Relaxed);
        let slice = self.slice(exact);
        if limit.is_some_and(|limit| self.used() + slice > limit) {
            Turn::Exceeded
        } else if slice >= QUANTUM {
            Turn::Yield
        } else {
            Turn::Continue
        }
    }

    pub fn is_long_running(&self) -> bool {
        self.long_running.load(Relaxed)
    }

    fn begin(&self) -> bool {
        let exact = self.is_exact.load(Relaxed);
        self.since.store(now(exact), Relaxed);
        exact
    }

    fn end(&self, exact: bool) {
        let slice = self.slice(exact);
        if slice >= QUANTUM {
            self.is_exact.store(true, Relaxed);
            self.long_running.fetch_or(exact, Relaxed);
        }
        self.used.fetch_add(slice.as_nanos() as u64, Relaxed);
    }
}

/// A guest's life, with its CPU time measured and the clock ticking while it runs.
pub struct Metered<F> {
    guest: Pin<Box<F>>,
    meter: std::sync::Arc<Meter>,
}

impl<F: Future> Metered<F> {
    pub fn new(guest: F, meter: std::sync::Arc<Meter>) -> Self {
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
        RUNNING.fetch_add(1, SeqCst);
        RAN.store(true, Relaxed);
        ensure_ticking();
        let poll = self.guest.as_mut().poll(context);
        RUNNING.fetch_sub(1, SeqCst);
        self.meter.end(exact);
        poll
    }
}
