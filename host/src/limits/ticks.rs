//! Epoch interruption: a timer signal (SIGALRM, setitimer(2)) increments the epoch of Wasmtime's engines, which
//! interrupts running guests.
//!
//! A signal and not a thread: starting the timer takes one system call, and it runs only while guests run. An idle
//! host has no timer.

use std::ptr;
use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, Ordering::Relaxed, Ordering::SeqCst,
};
use std::sync::{Mutex, Once};
use std::thread;
use std::time::Duration;
use wasmtime::Engine;

/// The period of the timer.
const TICK: Duration = Duration::from_millis(1);

/// The time to the first tick after the timer was started. Most guests have ended by then. A timer that expires
/// before the kernel's own tick (`CONFIG_HZ`, mostly 250) needs programming of the hardware timer, which takes 6 µs
/// in a virtual machine.
pub const FIRST_TICK: Duration = Duration::from_millis(4);

/// Engines whose epoch the timer increments: those of the process, and those of pools. Each is a `Box` of its own.
/// The signal handler reads the array; it is changed with the lock held.
static ENGINES: [AtomicPtr<Engine>; 128] = [const { AtomicPtr::new(ptr::null_mut()) }; 128];
static CHANGES: Mutex<()> = Mutex::new(());

/// Signal handlers that are reading [`ENGINES`] at the moment.
static READERS: AtomicU32 = AtomicU32::new(0);

/// The timer increments the epoch of an engine until this is dropped.
pub struct Ticks(&'static AtomicPtr<Engine>);

impl Drop for Ticks {
    fn drop(&mut self) {
        let changes = CHANGES.lock();
        let engine = self.0.swap(ptr::null_mut(), SeqCst);
        // A signal handler that started before may still use it, for about a microsecond.
        while READERS.load(SeqCst) > 0 {
            thread::yield_now();
        }
        drop(changes);
        // SAFETY: `start` allocated it, and no signal handler can see it any more.
        drop(unsafe { Box::from_raw(engine) });
    }
}

/// Threads that run guests: one for each processor, and the second thread for guests that compute. On machines with
/// more, the CPU time of guests in the other threads is slightly underestimated.
static SLOTS: [ThreadSlot; 64] = [const { ThreadSlot::new() }; 64];

/// What the timer records for the guest that a thread runs.
pub struct ThreadSlot {
    /// The thread's ID; 0: the slot is free.
    thread: AtomicI32,
    /// Its CPU clock at the first tick since the guest began, in nanoseconds; 0: there was no tick.
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

    /// Called by the signal handler, which may run in any thread.
    fn tick(&self) {
        let thread = self.thread.load(SeqCst);
        if thread != 0 && self.ticked.load(Relaxed) == 0 {
            // The CPU clock of a thread (`CPUCLOCK_PERTHREAD_MASK`, `CPUCLOCK_SCHED`: linux/posix-timers.h).
            self.ticked.store(read(!thread << 3 | 6), Relaxed);
        }
    }
}

/// Guests that are running at the moment, at most one for each thread.
static RUNNING: AtomicU32 = AtomicU32::new(0);

/// Has a guest run since the last tick?
static RAN: AtomicBool = AtomicBool::new(false);

/// Is the timer running?
static TICKING: AtomicBool = AtomicBool::new(false);

/// Makes the timer increment the epoch of `engine`. `None`: it does so already.
pub fn start(engine: &Engine) -> Option<Ticks> {
    static HANDLED: Once = Once::new();
    HANDLED.call_once(handle_signal);
    let _changes = CHANGES.lock();
    let mut free = None;
    for slot in &ENGINES {
        // SAFETY: it is freed only with the lock held.
        match unsafe { slot.load(SeqCst).as_ref() } {
            Some(other) if Engine::same(other, engine) => return None,
            Some(_) => {}
            None => free = free.or(Some(slot)),
        }
    }
    let slot = free.expect("fewer pools than slots for engines");
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
        // The parent process may have blocked it.
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
        // SAFETY: `Ticks::drop` waits for the readers before it frees an engine.
        if let Some(engine) = unsafe { slot.load(SeqCst).as_ref() } {
            engine.increment_epoch();
        }
    }
    READERS.fetch_sub(1, SeqCst);
    for slot in &SLOTS {
        slot.tick();
    }
    // The timer is not stopped and started for each guest while guests come in quick succession.
    if RUNNING.load(SeqCst) == 0 && !RAN.swap(false, SeqCst) {
        set_timer(Duration::ZERO, Duration::ZERO);
        TICKING.store(false, SeqCst);
        // A guest that began in between saw a running timer, and needs it.
        if RUNNING.load(SeqCst) != 0 {
            ensure_ticking();
        }
    }
}

/// Marks this thread as running a guest, until [`leave`]; starts the timer if it is not running.
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

/// A clock in nanoseconds: if `exact`, the CPU time of this thread, which takes a slow system call; otherwise the
/// monotonic clock, which takes a fiftieth of that.
pub fn now(exact: bool) -> u64 {
    read(match exact {
        true => libc::CLOCK_THREAD_CPUTIME_ID,
        false => libc::CLOCK_MONOTONIC,
    })
}

/// Reads a clock, in nanoseconds.
fn read(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime(2) writes the time it is given, and fails for a thread that is gone.
    unsafe {
        libc::clock_gettime(clock, &mut time);
    }
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
