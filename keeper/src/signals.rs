//! The signals that concern the keeper: blocked, and taken one after the other.

use core::ffi::c_int;
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use libc::{SIG_DFL, SIGABRT, SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, sigset_t, timespec};

const TAKEN: [c_int; 6] = [SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGABRT, SIGCHLD];

pub struct Signals {
    taken: sigset_t,
    /// The mask that the keeper was started with, which is the host's.
    pub inherited: sigset_t,
}

impl Signals {
    /// Blocks them.
    pub fn new() -> Self {
        // SAFETY: the sets are initialized, and written to by calls that cannot fail.
        unsafe {
            // If it were ignored, children would leave no exit code.
            libc::signal(SIGCHLD, SIG_DFL);
            // The log may be a pipe that was closed.
            libc::signal(libc::SIGPIPE, libc::SIG_IGN);
            let taken = set(&TAKEN);
            let mut inherited = MaybeUninit::<sigset_t>::zeroed().assume_init();
            libc::sigprocmask(libc::SIG_BLOCK, &taken, &raw mut inherited);
            Self { taken, inherited }
        }
    }

    /// A descriptor that is readable while there is a signal to take (`signalfd(2)`).
    pub fn descriptor(&self) -> c_int {
        // SAFETY: the set is initialized.
        unsafe { libc::signalfd(-1, &self.taken, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) }
    }

    /// Waits for the next signal.
    pub fn next(&self) -> c_int {
        loop {
            // SAFETY: the set is initialized.
            let signal = unsafe { libc::sigtimedwait(&self.taken, null_mut(), core::ptr::null()) };
            if signal > 0 {
                return signal;
            }
        }
    }

    /// Waits for the next signal, for so many milliseconds at most.
    pub fn next_within(&self, milliseconds: u32) -> Option<c_int> {
        let time = timespec {
            tv_sec: (milliseconds / 1000).into(),
            tv_nsec: (milliseconds % 1000 * 1_000_000).into(),
        };
        // SAFETY: the set is initialized.
        let signal = unsafe { libc::sigtimedwait(&self.taken, null_mut(), &time) };
        (signal > 0).then_some(signal)
    }

    /// Ends the keeper as SIGABRT ends a process.
    pub fn abort(&self) -> ! {
        // SAFETY: it is blocked until then, and has no handler.
        unsafe {
            libc::kill(libc::getpid(), SIGABRT);
            libc::sigprocmask(libc::SIG_UNBLOCK, &set(&[SIGABRT]), null_mut());
            libc::_exit(1)
        }
    }
}

fn set(signals: &[c_int]) -> sigset_t {
    // SAFETY: sigemptyset initializes the set; sigaddset changes it.
    unsafe {
        let mut set = MaybeUninit::<sigset_t>::zeroed().assume_init();
        libc::sigemptyset(&mut set);
        for signal in signals {
            libc::sigaddset(&mut set, *signal);
        }
        set
    }
}
