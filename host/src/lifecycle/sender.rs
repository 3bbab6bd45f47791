//! The process that has sent a signal.

use rustix::io::Errno;
use rustix::process::{Pid, getppid, test_kill_process};
use std::ffi::c_int;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// The process that sent a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    pid: Option<Pid>,
    /// It was sent by sigqueue(3), as `wasm-sock reload` does: see [`Sender::reaped`].
    queued: bool,
}

/// How long a host that hands over waits for the process that has told it to reload, at most.
const SENDER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often it looks whether that process is still there.
const SENDER_INTERVAL: Duration = Duration::from_millis(2);

impl Sender {
    /// The sender that `signalfd(2)` tells of: `ssi_code` and `ssi_pid`.
    pub(super) fn new(code: c_int, pid: c_int) -> Self {
        Self {
            pid: Pid::from_raw(pid),
            queued: code == libc::SI_QUEUE,
        }
    }

    /// Is it the process that has started this one?
    pub(super) fn is_parent(&self) -> bool {
        self.pid.is_some() && self.pid == getppid()
    }

    /// Waits until the sender has ended and its parent process knows, if it used sigqueue(3); for [`SENDER_TIMEOUT`] at
    /// most.
    ///
    /// For systemd a reload has failed if the service ends before `ExecReload=` does. A shell that sends the signal with
    /// kill(1), and lives on, is not waited for.
    pub async fn reaped(&self) {
        let Some(pid) = self.pid.filter(|_| self.queued) else {
            return;
        };
        let gone = async {
            // Landlock refuses the signal that is none (EPERM); for a process that is not there it is ESRCH.
            while test_kill_process(pid) != Err(Errno::SRCH) {
                sleep(SENDER_INTERVAL).await;
            }
        };
        let _ = timeout(SENDER_TIMEOUT, gone).await;
    }
}
