//! The clock of the guests that run: a timer signal that moves on Wasmtime's epoch, at which a guest is interrupted.
//!
//! A signal and not a thread: the timer costs one system call to start, and it runs only while guests do. An idle
//! host does not tick.

use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst,
};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::Duration;
use wasmtime::Engine;

/// How often running guests are looked at.
const TICK: Duration = Duration::from_millis(1);

/// When they are looked at first, after there was none. Most are gone by then, and a timer that is sooner
/// than the kernel's own (`CONFIG_HZ`, which is 250 mostly) has to be told to the processor: 6 µs in a
/// virtual machine.
pub const FIRST_TICK: Duration = Duration::from_millis(4);

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
static SLOTS: [ThreadSlot; 64] = [const { ThreadSlot::new() }; 64];

/// What the clock notes of the guest that a thread runs.
pub struct ThreadSlot {
    /// The thread; 0: it is free.
    thread: AtomicI32,
    /// What its CPU clock said at the first tick since the guest began; 0: there was none.
    ticked: AtomicU64,
}

thread_local! {
    /// The slot of this thread.
    static SLOT: Option<&'static ThreadSlot> = ThreadSlot::take();
}

impl ThreadSlot {
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
    pub fn begin() {
        SLOT.with(|slot| slot.inspect(|slot| slot.ticked.store(0, Relaxed)));
    }

    /// CPU time that this thread has used since the first tick after [`Self::begin`].
    pub fn since_tick() -> Duration {
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

/// A guest runs in this thread from now on, until [`leave`].
pub fn enter() {
    RUNNING.fetch_add(1, SeqCst);
    RAN.store(true, Relaxed);
    ensure_ticking();
}

pub fn leave() {
    RUNNING.fetch_sub(1, SeqCst);
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
pub fn now(exact: bool) -> u64 {
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
