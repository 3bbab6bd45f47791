//! The host: starting it as a child process, and its end.

use crate::environment;
use crate::signals::Signals;
use crate::text::Text;
use core::ffi::{CStr, c_char, c_int, c_void};
use core::mem::MaybeUninit;
use core::ptr::null_mut;
use libc::{CLONE_VFORK, CLONE_VM, SIGCHLD, SIGTERM, pid_t, sigset_t};
use wasm_sock_keeper::{AWAKE_SINCE, NOTIFY};

/// Exit codes of a host.
pub const NOTHING_ACCEPTED: c_int = wasm_sock_keeper::NOTHING_ACCEPTED as c_int;
pub const KEEP_NO_MORE: c_int = wasm_sock_keeper::KEEP_NO_MORE as c_int;

/// clone(2): a child that uses the memory of its parent, which waits until it executes a program (`vfork(2)`).
pub const CLONE: c_int = CLONE_VM | CLONE_VFORK | SIGCHLD;

/// The most bytes of a path, the zero byte included (`PATH_MAX`).
const PATH_MAX: usize = 4096;

/// How a host has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Exit(c_int),
    Killed(c_int),
    /// It could not be executed: a number of errno(3).
    NotStarted(c_int),
}

impl Ending {
    /// Is it one that people should know of?
    pub fn is_failure(self) -> bool {
        !matches!(self, Self::Exit(0 | NOTHING_ACCEPTED))
    }

    /// Says it in words that follow "the host".
    pub fn describe(self, text: &mut Text) {
        match self {
            Self::Exit(code) => text.push(b"exited with ").number(code as u64, 1),
            Self::Killed(signal) => text.push(b"was killed by signal ").number(signal as u64, 1),
            Self::NotStarted(libc::ENOENT) => text.push(b"could not be started: there is no such file"),
            Self::NotStarted(libc::EACCES) => text.push(b"could not be started: permission denied"),
            Self::NotStarted(error) => text.push(b"could not be started: errno ").number(error as u64, 1),
        };
    }
}

/// An environment variable that is another one for each host, and its place.
struct Variable {
    place: *mut *const c_char,
    name: &'static str,
    text: Text,
}

impl Variable {
    /// `None`: it is not in the environment.
    fn find(name: &'static str) -> Option<Self> {
        Some(Self {
            place: environment::place(name)?,
            name,
            text: Text::new(),
        })
    }

    /// The value, to be written.
    fn set(&mut self) -> &mut Text {
        // SAFETY: the place is one of the environment's, and the text lives as long as the process (`Host`).
        unsafe { *self.place = self.text.as_ptr() };
        self.text.clear().push(self.name.as_bytes()).push(b"=")
    }
}

/// How to start a host.
pub struct Host {
    /// In memory that is not written to: the filter of system calls allows to execute what is named here.
    path: &'static CStr,
    arguments: *const *const c_char,
    /// The mask of signals that it starts with.
    mask: sigset_t,
    awake_since: Variable,
    notify: Variable,
    notify_descriptor: Option<c_int>,
    /// The number of its process: `sd_listen_fds(3)`, `sd_watchdog_enabled(3)`.
    process: [Option<Variable>; 2],
    error: c_int,
}

impl Host {
    /// With these arguments, of which the first is the path of the program, and the descriptor for what it has to tell the
    /// manager. `None`: the keeper was not started by a host.
    ///
    /// # Safety
    /// The pointers to the arguments are valid as long as the process, and end with a null pointer.
    pub unsafe fn new(arguments: *const *const c_char, signals: &Signals, notify: Option<c_int>) -> Option<Self> {
        // SAFETY: by the caller's promise.
        let program = unsafe { CStr::from_ptr(*arguments) };
        Some(Self {
            path: read_only(program)?,
            arguments,
            mask: signals.inherited,
            awake_since: Variable::find(AWAKE_SINCE)?,
            notify: Variable::find(NOTIFY)?,
            notify_descriptor: notify,
            process: [Variable::find("LISTEN_PID"), Variable::find("WATCHDOG_PID")],
            error: 0,
        })
    }

    pub fn path(&self) -> &CStr {
        self.path
    }

    /// Starts it. Returns the number of its process once it is executed.
    ///
    /// # Errors
    /// Those of clone(2) and execve(2).
    pub fn start(&mut self) -> Result<pid_t, c_int> {
        self.awake_since.set().now();
        let notify = self.notify.set();
        if let Some(descriptor) = self.notify_descriptor {
            notify.number(descriptor as u64, 1);
        }
        self.error = 0;
        let mut stack = MaybeUninit::<[u128; 128]>::uninit();
        // SAFETY: the child has a stack of its own, which stays as long as it needs it: this thread goes on when the child
        // has executed the host, or ended. It reaches `self` meanwhile, and this thread does not.
        let process = unsafe {
            let top = stack.as_mut_ptr().add(1).cast::<c_void>();
            libc::clone(execute, top, CLONE, (&raw mut *self).cast())
        };
        match self.error {
            _ if process < 0 => Err(errno()),
            0 => Ok(process),
            error => {
                reap();
                Err(error)
            }
        }
    }
}

/// In the child: becomes the host.
extern "C" fn execute(host: *mut c_void) -> c_int {
    // SAFETY: the parent waits, so that this is the only reference; all else is as execve(2) and the others want it.
    unsafe {
        let host = &mut *host.cast::<Host>();
        let process = libc::getpid();
        for variable in host.process.iter_mut().flatten() {
            variable.set().number(process as u64, 1);
        }
        // A host ends when its keeper has. (The keeper may have ended before.)
        libc::prctl(libc::PR_SET_PDEATHSIG, SIGTERM);
        libc::sigprocmask(libc::SIG_SETMASK, &host.mask, null_mut());
        libc::execve(host.path.as_ptr(), host.arguments, environment::all());
        host.error = errno();
    }
    1
}

/// Takes note of a child that has ended, if there is one.
pub fn reap() -> Option<(pid_t, Ending)> {
    let mut status = 0;
    // SAFETY: it writes the status there.
    let process = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
    let ending = match libc::WIFSIGNALED(status) {
        true => Ending::Killed(libc::WTERMSIG(status)),
        false => Ending::Exit(libc::WEXITSTATUS(status)),
    };
    (process > 0).then_some((process, ending))
}

/// Tells a host to end, and how often it was told (`sigqueue(3)`): the manager may have told it, too.
pub fn terminate(process: pid_t, signal: c_int, times: c_int) {
    let value = libc::sigval {
        sival_ptr: times as usize as *mut c_void,
    };
    // SAFETY: the process is a child that was not waited for yet.
    unsafe { libc::sigqueue(process, signal, value) };
}

/// Sends a host a signal.
pub fn signal(process: pid_t, signal: c_int) {
    // SAFETY: as above.
    unsafe { libc::kill(process, signal) };
}

/// A copy of a path in memory of its own, which cannot be written to. `None`: it is too long, or there is no memory.
fn read_only(path: &CStr) -> Option<&'static CStr> {
    let bytes = path.to_bytes_with_nul();
    if bytes.len() > PATH_MAX {
        return None;
    }
    let (write, anywhere) = (
        libc::PROT_READ | libc::PROT_WRITE,
        libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
    );
    // SAFETY: new memory, large enough for the copy, which nothing else refers to.
    unsafe {
        let memory = libc::mmap(null_mut(), PATH_MAX, write, anywhere, -1, 0);
        if memory == libc::MAP_FAILED {
            return None;
        }
        core::ptr::copy_nonoverlapping(bytes.as_ptr(), memory.cast(), bytes.len());
        (libc::mprotect(memory, PATH_MAX, libc::PROT_READ) == 0).then(|| CStr::from_ptr(memory.cast_const().cast()))
    }
}

fn errno() -> c_int {
    // SAFETY: it is this thread's.
    unsafe { *libc::__errno_location() }
}
