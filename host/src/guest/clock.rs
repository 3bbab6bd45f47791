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
    AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst,
};
use std::sync::{Arc, Mutex, Once, OnceLock};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;
use wasm_sock_engine::InstanceCost;
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

/// Threads that run guests: as many as processors, and that of those that compute. Where there are more, the
/// others' guests are measured a little short.
static SLOTS: [Slot; 64] = [const { Slot::new() }; 64];

/// What the clock notes of the guest that a thread runs.
struct Slot {
    /// The thread; 0: it is free.
    thread: AtomicI32,
    /// What its CPU clock said at the first tick since the guest began; 0: there was none.
    ticked: AtomicU64,
}

thread_local! {
    /// The slot of this thread.
    static SLOT: Option<&'static Slot> = Slot::take();
}

impl Slot {
    const fn new() -> Self {
        Self {
            thread: AtomicI32::new(0),
            ticked: AtomicU64::new(0),
        }
    }

    fn take() -> Option<&'static Self> {
        let thread = rustix::thread::gettid().as_raw_pid();
        let is_taken = |slot: &&Self| {
            let taken = slot.thread.compare_exchange(0, thread, SeqCst, SeqCst);
            taken.is_ok()
        };
        SLOTS.iter().find(is_taken)
    }

    /// A guest begins in this thread.
    fn begin() {
        SLOT.with(|slot| slot.inspect(|slot| slot.ticked.store(0, Relaxed)));
    }

    /// CPU time that this thread has used since the first tick after [`Self::begin`].
    fn since_tick() -> Duration {
        let ticked = SLOT.with(|slot| slot.map_or(0, |slot| slot.ticked.load(Relaxed)));
        match ticked {
            0 => Duration::ZERO,
            ticked => Duration::from_nanos(now(true).saturating_sub(ticked)),
        }
    }

    /// Called by the signal, in whichever thread.
    fn tick(&self) {
        let thread = self.thread.load(SeqCst);
        if thread != 0 && self.ticked.load(Relaxed) == 0 {
            // The CPU clock of a thread (`CPUCLOCK_PERTHREAD_MASK`, `CPUCLOCK_SCHED`: linux/posix-timers.h).
            self.ticked.store(read(!thread << 3 | 6), Relaxed);
        }
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
    for slot in &SLOTS {
        slot.tick();
    }
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
    read(match exact {
        true => libc::CLOCK_THREAD_CPUTIME_ID,
        false => libc::CLOCK_MONOTONIC,
    })
}

/// What a clock says, in nanoseconds.
fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime(2) writes the time it is given, and fails for a thread that is gone.
    unsafe {
        libc::clock_gettime(clock, &mut time);
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

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
        RUNNING.fetch_add(1, SeqCst);
        RAN.store(true, Relaxed);
        ensure_ticking();
        let poll = self.guest.as_mut().poll(context);
        RUNNING.fetch_sub(1, SeqCst);
        self.meter.end(exact);
        poll
    }
}
