//! SIGTERM, as a descriptor (`signalfd(2)`), so that hosts can be served to their end.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Blocks SIGTERM in this thread and all that it makes from now on. Before the sandbox, which does not allow
/// `signalfd(2)`, and before there are threads.
///
/// # Errors
/// Those of `signalfd(2)`.
pub fn block() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised before it is used; the descriptor is new and ours.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGTERM);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
        match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Waits for SIGTERM. The signal is not taken from the descriptor: it stays readable.
///
/// # Errors
/// Those of `epoll_ctl(2)`.
pub async fn wait(signals: &AsyncFd<OwnedFd>) -> io::Result<()> {
    signals
        .ready(Interest::READABLE)
        .await
        .map(|mut guard| guard.retain_ready())
}
