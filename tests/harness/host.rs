//! A running host, as its service manager sees it.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use crate::log::Log;
use crate::{PATIENCE, eventually};

/// What ends the thread that listens to the host's notifications.
const NO_MORE: &str = "no more";

/// How much of what a host said is printed when its test fails, in lines.
const SHOWN: usize = 40;

/// One process of `wasm-sock host`. It is killed when this is dropped.
pub struct Host {
    child: Child,
    /// Its standard error, a line each.
    pub log: Arc<Log>,
    /// What it told through `NOTIFY_SOCKET`, an assignment each.
    pub notifications: Arc<Log>,
    notify: PathBuf,
    threads: Vec<JoinHandle<()>>,
}

impl Host {
    pub(crate) fn new(notify: &Path, spawn: impl FnOnce() -> Child) -> Self {
        let socket = UnixDatagram::bind(notify).expect("bind NOTIFY_SOCKET");
        let mut child = spawn();
        let (log, notifications) = (Log::new(), Log::new());
        let stderr = child.stderr.take().expect("stderr is piped");
        let (to_log, to_notifications) = (log.clone(), notifications.clone());
        let threads = vec![
            thread::spawn(move || collect_lines(stderr, &to_log)),
            thread::spawn(move || collect_notifications(&socket, &to_notifications)),
        ];
        Self {
            child,
            log,
            notifications,
            notify: notify.to_owned(),
            threads,
        }
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("send a signal");
    }

    /// Has it ended within `time`? It is not reaped yet.
    pub fn ends_within(&self, time: Duration) -> bool {
        let fd = pidfd_open(self.pid(), PidfdFlags::empty()).expect("pidfd_open");
        let time = Timespec::try_from(time).expect("a short time");
        loop {
            match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&time)) {
                Ok(ready) => return ready > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => panic!("poll: {error}"),
            }
        }
    }

    pub fn is_running(&self) -> bool {
        !self.ends_within(Duration::ZERO)
    }

    /// Kills it (SIGKILL), and waits until it is gone.
    #[track_caller]
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.exit_status();
    }

    /// How it ended, which must be soon.
    #[track_caller]
    pub fn exit_status(&mut self) -> ExitStatus {
        assert!(
            self.ends_within(PATIENCE),
            "the host is still running after {PATIENCE:?}"
        );
        let status = self.child.wait().expect("wait for the host");
        self.finish_logs();
        status
    }

    /// It must end soon, with this code.
    #[track_caller]
    pub fn expect_exit(&mut self, code: i32) {
        let status = self.exit_status();
        assert_eq!(status.code(), Some(code), "the host ended with {status}");
    }

    /// Told to stop, it leaves in good order. For tests that are not about being idle: whatever short
    /// time they chose, a busy machine could take longer between two knocks.
    #[track_caller]
    pub fn expect_leave(&mut self) {
        self.signal(Signal::TERM);
        self.expect_exit(0);
    }

    /// Waits until the host says that this many connections are in flight.
    #[track_caller]
    pub fn expect_in_flight(&self, count: usize) {
        let wanted = format!(" {count} in flight");
        eventually(&format!("the host's STATUS says{wanted}"), || {
            let last = self.notifications.lines();
            let last = last.iter().rfind(|line| line.starts_with("STATUS="));
            last.is_some_and(|line| line.contains(&wanted))
        });
    }

    /// Memory that the host has touched, in bytes: now (`VmRSS`), or at most so far (`VmHWM`).
    pub fn memory(&self, field: &str) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kibibytes = line.and_then(|line| line.split_whitespace().next());
        let kibibytes: u64 = kibibytes.and_then(|k| k.parse().ok()).expect("a number");
        kibibytes * 1024
    }

    /// The processes that it has started and that have not been waited for.
    pub fn children(&self) -> Vec<Pid> {
        let children = self.proc(&format!("task/{}/children", self.pid()));
        let children = children.split_whitespace().map(|pid| pid.parse().expect("a number"));
        children.map(|pid| Pid::from_raw(pid).expect("a process")).collect()
    }

    /// A file of proc(5) about it.
    pub fn proc(&self, file: &str) -> String {
        let path = format!("/proc/{}/{file}", self.pid());
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// CPU time that the host has used.
    pub fn cpu_time(&self) -> Duration {
        // proc_pid_stat(5): after the name in brackets, utime and stime are the 12th and 13th.
        let stat = self.proc("stat");
        let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
        let fields: Vec<&str> = fields.split(' ').collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    fn finish_logs(&mut self) {
        if let Ok(socket) = UnixDatagram::unbound() {
            let _ = socket.send_to(NO_MORE.as_bytes(), &self.notify);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        let _ = fs::remove_file(&self.notify);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.finish_logs();
        if thread::panicking() {
            let notifications = self.notifications.lines().join(", ");
            let lines = self.log.lines();
            let left_out = lines.len().saturating_sub(SHOWN);
            let last = lines[left_out..].join("\n");
            eprintln!(
                "the host said, after {left_out} other lines:\n{last}\nand to its service manager: {notifications}"
            );
        }
    }
}

pub(crate) fn collect_lines(stderr: impl Read, log: &Log) {
    let mut stderr = BufReader::new(stderr);
    let mut line = Vec::new();
    while stderr.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        let text = String::from_utf8_lossy(&line);
        log.push(text.trim_end_matches('\n').to_owned());
        line.clear();
    }
}

fn collect_notifications(socket: &UnixDatagram, log: &Log) {
    let mut message = [0; 4096];
    while let Ok(length) = socket.recv(&mut message) {
        let text = String::from_utf8_lossy(&message[..length]);
        if text == NO_MORE {
            return;
        }
        for assignment in text.lines() {
            log.push(assignment.to_owned());
        }
    }
}
