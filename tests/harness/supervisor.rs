//! The part of systemd that matters for a race: whenever no host runs and a client waits, one is
//! started.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::Launch;

/// How soon the end of the test is noticed.
const GLANCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

#[derive(Default)]
struct Shared {
    stopping: AtomicBool,
    hosts: AtomicUsize,
    /// The host that runs, until it is reaped.
    running: Mutex<Option<Pid>>,
    /// What hosts said that did not end well.
    failures: Mutex<Vec<String>>,
}

/// Keeps a host at hand while it lives.
pub struct Supervisor {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    pub(crate) fn start(launch: Launch) -> Self {
        let shared = Arc::new(Shared::default());
        let theirs = shared.clone();
        Self {
            shared,
            thread: Some(thread::spawn(move || supervise(&launch, &theirs))),
        }
    }

    /// How many hosts there have been.
    pub fn hosts(&self) -> usize {
        self.shared.hosts.load(SeqCst)
    }

    /// No host runs: the next client starts one.
    pub fn is_asleep(&self) -> bool {
        let running = self.shared.running.lock();
        running.unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// `systemctl stop`, if a host runs. A client that waits will start the next one.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// `systemctl kill`, if a host runs.
    pub fn signal(&self, signal: Signal) {
        let running = self.shared.running.lock();
        if let Some(pid) = *running.unwrap_or_else(PoisonError::into_inner) {
            kill_process(pid, signal).expect("send a signal");
        }
    }

    /// What went wrong with the hosts so far.
    pub fn failures(&self) -> Vec<String> {
        let failures = self.shared.failures.lock();
        failures.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.shared.stopping.store(true, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        if thread::panicking() {
            eprintln!("hosts that failed: {:#?}", self.failures());
        }
    }
}

fn supervise(launch: &Launch, shared: &Shared) {
    let running = |pid| *shared.running.lock().unwrap_or_else(PoisonError::into_inner) = pid;
    while !shared.stopping.load(SeqCst) {
        if !somebody_waits(launch) {
            continue;
        }
        let mut host = launch.start();
        shared.hosts.fetch_add(1, SeqCst);
        running(Some(host.pid()));
        while !host.ends_within(Duration::from_millis(20)) {
            if shared.stopping.load(SeqCst) {
                running(None);
                return;
            }
        }
        running(None);
        let status = host.exit_status();
        // Before it holds them back, a signal ends it; it has accepted nothing then.
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        let terminated = [Signal::TERM, Signal::HUP]
            .iter()
            .any(|ends| signal == Some(ends.as_raw()));
        if !status.success() && !terminated {
            let failure = format!("{status}: {}", host.log.text());
            let failures = shared.failures.lock();
            failures.unwrap_or_else(PoisonError::into_inner).push(failure);
        }
    }
}

fn somebody_waits(launch: &Launch) -> bool {
    let sockets = launch.sockets().iter().filter_map(|s| s.fd.as_ref());
    let mut fds: Vec<PollFd<'_>> = sockets
        .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN))
        .collect();
    poll(&mut fds, Some(&GLANCE)).is_ok_and(|ready| ready > 0)
}
