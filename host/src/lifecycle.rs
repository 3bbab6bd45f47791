//! The lifecycle of the process: idle timeout, graceful shutdown (drain), signal handling (`signalfd(2)`), and
//! notifications to systemd (`sd_notify(3)`: readiness, status, watchdog).

mod sender;

use crate::event_loop;
use crate::journal::{self, Level};
use crate::keeper;
use crate::sync::lock;
use sd_notify::NotifyState;
use std::cell::Cell;
use std::ffi::c_int;
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;
use std::{env, io};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, SetOnce};
use tokio::time::{Instant, sleep, sleep_until};

pub use sender::Sender;

/// The shortest time between two status updates to systemd.
const STATUS_INTERVAL: Duration = Duration::from_millis(200);

/// Counts the connections and requests in flight, and how long there has been none.
pub struct Activity {
    in_flight: AtomicUsize,
    /// Connections that may be idle (HTTP keep-alive). They do not keep the host from exiting, but are closed before.
    open: AtomicUsize,
    served: AtomicU64,
    /// When the last connection or request in flight ended, or when the host started; `None`: long ago, because the
    /// host has only answered what is no activity.
    idle_since: Mutex<Option<Instant>>,
    /// `idle_since` has become `None`.
    expired: Notify,
    /// A counter has changed: for the status that systemd shows.
    changed: Notify,
    /// `in_flight` or `open` has become 0.
    quiet: Notify,
    /// Set when idle connections are asked to close.
    closing: SetOnce<()>,
    /// Set when the drain is over and what is still in flight is reset.
    gave_up: AtomicBool,
    /// Has there ever been a connection or a request?
    has_begun: AtomicBool,
}

/// A connection or a request in flight. The host does not exit for being idle until this is dropped.
pub struct InFlight {
    activity: Arc<Activity>,
    /// Does the host stay for the idle timeout after it has ended?
    is_activity: bool,
}

/// An open connection that may be idle. The drain waits until this is dropped; the idle timeout does not.
pub struct Open(Arc<Activity>);

impl Activity {
    /// Nothing in flight; idle since now.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            in_flight: AtomicUsize::new(0),
            open: AtomicUsize::new(0),
            served: AtomicU64::new(0),
            idle_since: Mutex::new(Some(Instant::now())),
            expired: Notify::new(),
            changed: Notify::new(),
            quiet: Notify::new(),
            closing: SetOnce::new(),
            gave_up: AtomicBool::new(false),
            has_begun: AtomicBool::new(false),
        })
    }

    /// Counts a connection that was accepted, or a request that has arrived, until the result is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.changed.notify_one();
        self.in_flight_as(true)
    }

    /// The same for what the host does not stay awake for: when it has ended, the host is idle for as long as before.
    /// If the host has done nothing else since it started, it exits.
    pub fn begin_unnoticed(self: &Arc<Self>) -> InFlight {
        self.in_flight_as(false)
    }

    fn in_flight_as(self: &Arc<Self>, is_activity: bool) -> InFlight {
        self.has_begun.store(true, Relaxed);
        self.in_flight.fetch_add(1, Relaxed);
        InFlight {
            activity: self.clone(),
            is_activity,
        }
    }

    /// Counts an open connection that may be idle at times, until the result is dropped.
    pub fn open(self: &Arc<Self>) -> Open {
        self.has_begun.store(true, Relaxed);
        self.open.fetch_add(1, Relaxed);
        Open(self.clone())
    }

    /// The number of connections and requests in flight.
    pub fn in_flight(&self) -> usize {
        self.in_flight.load(Relaxed)
    }

    /// Has there ever been a connection or a request?
    pub fn has_begun(&self) -> bool {
        self.has_begun.load(Relaxed)
    }

    fn is_quiet(&self) -> bool {
        self.in_flight() == 0 && self.open.load(Relaxed) == 0
    }

    /// The number of connections and requests that have ended.
    pub fn served(&self) -> u64 {
        self.served.load(Relaxed)
    }

    /// Asks connections that are idle to close.
    pub fn close(&self) {
        // An error means that it is set already.
        let _ = self.closing.set(());
    }

    /// Were idle connections asked to close?
    pub fn is_closing(&self) -> bool {
        self.closing.get().is_some()
    }

    /// Notes that the drain is over: from here on, what is still in flight is reset.
    pub fn give_up(&self) {
        self.gave_up.store(true, Relaxed);
    }

    /// Is the drain over, so that what is still in flight is reset?
    pub fn gave_up(&self) -> bool {
        self.gave_up.load(Relaxed)
    }

    /// Waits until idle connections are asked to close.
    pub async fn closing(&self) {
        self.closing.wait().await;
    }

    /// Waits until no connection is left, idle ones included.
    pub async fn quiet(&self) {
        self.until(Self::is_quiet).await;
    }

    async fn until(&self, reached: impl Fn(&Self) -> bool) {
        loop {
            // Created before the check, so that a notification between check and wait is not lost.
            let quiet = self.quiet.notified();
            if reached(self) {
                return;
            }
            quiet.await;
        }
    }

    /// Waits until nothing has been in flight for `timeout` (the idle timeout).
    ///
    /// When this returns, nothing is in flight, and no connection is accepted before the caller's next `await`:
    /// connections are accepted on the same thread.
    pub async fn idle(&self, timeout: Duration) {
        loop {
            self.until(|activity| activity.in_flight() == 0).await;
            let Some(since) = *lock(&self.idle_since) else {
                return;
            };
            let deadline = async {
                match since.checked_add(timeout) {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            if since.elapsed() >= timeout {
                return;
            }
            tokio::select! {
                () = deadline => {}
                () = self.expired.notified() => {}
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let activity = &self.activity;
        if self.is_activity {
            activity.served.fetch_add(1, Relaxed);
            *lock(&activity.idle_since) = Some(Instant::now());
        } else if activity.served() == 0 {
            *lock(&activity.idle_since) = None;
            activity.expired.notify_one();
        }
        if activity.in_flight.fetch_sub(1, Relaxed) == 1 {
            activity.quiet.notify_waiters();
        }
        activity.changed.notify_one();
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.0.open.fetch_sub(1, Relaxed) == 1 {
            self.0.quiet.notify_waiters();
        }
    }
}

/// Signals that start a graceful shutdown; a second one ends the drain.
const TERMINATING: [c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];

/// The signal that has the configuration read again.
const RELOADING: c_int = libc::SIGHUP;

/// Signals whose default action ends the process (`signal(7)`), and that other programs send for their own
/// reasons: log rotation, a terminal that closes, a timer left by the program that started the host.
const IGNORED: [(c_int, &str); 7] = [
    (libc::SIGUSR1, "SIGUSR1"),
    (libc::SIGUSR2, "SIGUSR2"),
    (libc::SIGIO, "SIGIO"),
    (libc::SIGPWR, "SIGPWR"),
    (libc::SIGPROF, "SIGPROF"),
    (libc::SIGVTALRM, "SIGVTALRM"),
    (libc::SIGSTKFLT, "SIGSTKFLT"),
];

/// Blocks signals from here on, in this thread and those it starts: they stay pending until [`Signals`] reads
/// them. Called first, so that a signal during the start does not end a connection that was already
/// accepted.
pub fn block_signals() {
    let set = blocked_signals();
    // SAFETY: pthread_sigmask reads the set, and signal has no conditions; both fail for invalid arguments only.
    unsafe {
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        // A blocked signal stays pending for signalfd even when it is ignored. The compiler inherits this disposition,
        // and not the mask: it must not end when `systemctl kill` sends a signal to all processes of the service.
        for signal in IGNORED.iter().map(|(signal, _)| *signal).chain([RELOADING]) {
            libc::signal(signal, libc::SIG_IGN);
        }
        // A guest that writes beyond LimitFSIZE= gets EFBIG instead of a signal (`setrlimit(2)`).
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
    }
}

/// Terminating, reloading, ignored and real-time signals.
fn blocked_signals() -> libc::sigset_t {
    let real_time = libc::SIGRTMIN()..=libc::SIGRTMAX();
    let ignored = IGNORED.iter().map(|(signal, _)| *signal).chain([RELOADING]);
    // SAFETY: sigemptyset initialises the set; sigaddset changes it.
    // (nix and rustix have sets of signals with names only, not the real-time ones.)
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for signal in TERMINATING.into_iter().chain(ignored).chain(real_time) {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// What a signal asks the host to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// To end: a second one ends the drain.
    End,
    /// To read the configuration again.
    Reload(Sender),
}

/// Reads the blocked signals, one after the other (`signalfd(2)`).
pub struct Signals {
    descriptor: AsyncFd<OwnedFd>,
    terminations: Terminations,
}

/// How often the host was told to end: by its keeper, and by others. `systemctl kill` tells both, and the keeper passes
/// that on: it is one time.
#[derive(Debug, Default)]
struct Terminations {
    by_keeper: Cell<u32>,
    by_others: Cell<u32>,
}

impl Terminations {
    /// Counts one more; returns whether it is news.
    fn count(&self, is_by_keeper: bool) -> bool {
        let (by_this, by_that) = match is_by_keeper {
            true => (&self.by_keeper, &self.by_others),
            false => (&self.by_others, &self.by_keeper),
        };
        by_this.set(by_this.get() + 1);
        by_this.get() > by_that.get()
    }
}

impl Signals {
    /// Opens the descriptor and registers it with the event loop of the current thread.
    ///
    /// # Errors
    /// Those of `signalfd(2)` and `epoll_ctl(2)`.
    pub fn new() -> io::Result<Self> {
        // SAFETY: the set is initialised; the descriptor is new and ours.
        let fd = unsafe {
            let set = blocked_signals();
            let fd = libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Self {
            descriptor: event_loop::register(fd)?,
            terminations: Terminations::default(),
        })
    }

    /// Waits for the next signal that asks for something. Other signals are logged and ignored.
    pub async fn next(&self) -> Request {
        loop {
            let (signal, sender) = self.read().await;
            match signal {
                RELOADING => return Request::Reload(sender),
                signal if TERMINATING.contains(&signal) => {
                    let is_by_keeper = keeper::is_kept() && sender.is_parent();
                    if self.terminations.count(is_by_keeper) {
                        return Request::End;
                    }
                    continue;
                }
                _ => {}
            }
            let name = IGNORED.iter().find(|(ignored, _)| *ignored == signal);
            let name = name.map_or_else(|| format!("signal {signal}"), |(_, name)| (*name).into());
            let message = format_args!("{name} is ignored (SIGTERM ends the host)");
            journal::log(Level::Warning, message);
        }
    }

    async fn read(&self) -> (c_int, Sender) {
        let mut info = [0u8; size_of::<libc::signalfd_siginfo>()];
        loop {
            let Ok(mut ready) = self.descriptor.readable().await else {
                return std::future::pending().await;
            };
            if let Ok(Ok(_)) = ready.try_io(|fd| Ok(rustix::io::read(fd, &mut info)?)) {
                // Four of its first fields (`signalfd(2)`): ssi_signo, ssi_errno, ssi_code, ssi_pid.
                let field = |at: usize| c_int::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]]);
                return (field(0), Sender::new(field(8), field(12)));
            }
        }
    }
}

/// The socket of the service manager (`sd_notify(3)`). `None`: `$NOTIFY_SOCKET` is not set, or cannot be reached.
static MANAGER: OnceLock<Option<UnixDatagram>> = OnceLock::new();

/// Connects to `$NOTIFY_SOCKET`, before the sandbox: a process that has confined itself cannot create sockets.
pub fn reach_manager() {
    let connect = || {
        if keeper::is_kept() {
            return keeper::notify_socket();
        }
        let path = env::var_os("NOTIFY_SOCKET")?;
        let connected = UnixDatagram::unbound().and_then(|socket| {
            socket.connect(path)?;
            Ok(socket)
        });
        connected.map_err(unreachable).ok()
    };
    MANAGER.get_or_init(connect);
}

/// Sends these states to the service manager (`sd_notify(3)`), if there is one. A failure is logged.
pub fn notify(states: &[NotifyState<'_>]) {
    let Some(manager) = MANAGER.get().and_then(Option::as_ref) else {
        return;
    };
    let lines: Vec<String> = states.iter().map(NotifyState::to_string).collect();
    if let Err(error) = manager.send(lines.join("\n").as_bytes()) {
        unreachable(error);
    }
}

/// Tells the service manager that the host serves. A keeper has told it before.
pub fn notify_ready() {
    if !keeper::is_kept() {
        notify(&[NotifyState::Ready]);
    }
}

/// Tells the service manager that the host ends. The service of a keeper does not.
pub fn notify_stopping() {
    if !keeper::is_kept() {
        notify(&[NotifyState::Stopping]);
    }
}

/// Tells the service manager that the configuration is being read again, until the next [`NotifyState::Ready`]. The time
/// tells it which reload is meant (`Type=notify-reload`, `sd_notify(3)`).
pub fn notify_reload() {
    if let Ok(now) = NotifyState::monotonic_usec_now() {
        notify(&[NotifyState::Reloading, now]);
    }
}

fn unreachable(error: io::Error) {
    let message = format_args!("cannot notify the service manager: {error}");
    journal::log(Level::Warning, message);
}

/// Keeps the status line of `systemctl status` up to date: handlers, connections in flight, connections served.
/// Returns only when there is no service manager.
pub async fn report_status(activity: Arc<Activity>, handlers: usize) {
    if MANAGER.get().is_none_or(Option::is_none) {
        return;
    }
    loop {
        let since = keeper::awake_since().map_or(String::new(), |since| format!("awake since {since}: "));
        let status = format!(
            "{since}{handlers} handler{}, {} in flight, {} served",
            if handlers == 1 { "" } else { "s" },
            activity.in_flight(),
            activity.served()
        );
        notify(&[NotifyState::Status(&status)]);
        sleep(STATUS_INTERVAL).await;
        activity.changed.notified().await;
    }
}

/// Sends keep-alive messages to the watchdog of the service manager (`WatchdogSec=`), at twice the rate that it
/// requires. Returns only when the service has no watchdog.
pub async fn answer_watchdog() {
    let Some(interval) = sd_notify::watchdog_enabled() else {
        return;
    };
    loop {
        notify(&[NotifyState::Watchdog]);
        sleep(interval / 2).await;
    }
}

#[cfg(test)]
mod tests {
    use super::Terminations;

    #[test]
    fn what_the_keeper_passes_on_is_no_second_request_to_end() {
        // Both were told, in whatever order; then both again.
        for first_is_keeper in [true, false] {
            let told = Terminations::default();
            assert!(told.count(first_is_keeper));
            assert!(!told.count(!first_is_keeper));
            assert!(told.count(!first_is_keeper));
            assert!(!told.count(first_is_keeper));
        }
        let one = Terminations::default();
        assert!(one.count(true) && one.count(true));
    }
}
