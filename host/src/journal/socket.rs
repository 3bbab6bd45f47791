//! The socket of journald: lines that it has no room for wait in a queue, which has a limit.
//!
//! Each line is a datagram. The Journal Export Format allows several entries in one, but systemd 257 reads only the first
//! of them. journald's socket holds some hundreds of datagrams (`net.unix.max_dgram_qlen`), and no more bytes than the
//! host's send buffer. The host never waits for it for long: lines stay in the queue, and are sent when there is room
//! again. If the queue is full, the host waits for journald once, for [`PATIENCE`], and then drops what is too much,
//! counts it, and says so.

use super::native::shortened;
use super::queue::Queue;
use crate::sync::lock;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, sendmsg_addr,
    socket_with,
};
use std::io::IoSlice;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::sleep;
use std::time::{Duration, Instant};

const PATH: &str = "/run/systemd/journal/socket";

/// The most bytes of lines that wait for journald, some two thousand records.
const MAX_QUEUED: usize = 1 << 20;

/// How long the host waits for journald when the queue is full.
const PATIENCE: Duration = Duration::from_millis(20);

/// How long the host waits at its end until journald has taken all lines.
const LAST_PATIENCE: Duration = Duration::from_millis(100);

/// The pause between two looks at whether it has.
const FIRST_PAUSE: Duration = Duration::from_micros(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(2);

/// The shortest that a line is cut to that is too large for a datagram.
const SHORTEST: usize = 256;

/// A socket that is connected to journald.
pub struct Journal {
    state: Mutex<State>,
    /// How many lines the queue has.
    unsent: AtomicUsize,
}

struct State {
    fd: OwnedFd,
    path: SocketAddrUnix,
    queue: Queue,
    /// At least one line was sent.
    has_sent: bool,
    /// Lines that were dropped, and not yet told of.
    dropped: u64,
    /// journald has taken nothing during [`PATIENCE`], and nothing since.
    is_stalled: bool,
    /// The socket that this one was connected to is gone, and there may be a new one at its path. Connecting again would
    /// take a system call that the sandbox does not allow, so each line is sent to the path.
    has_lost: bool,
}

impl Journal {
    /// Connects to journald.
    ///
    /// # Errors
    /// Those of `socket(2)` and `connect(2)`: there is none, for example.
    pub fn connect() -> Result<Self, Errno> {
        Self::connect_to(SocketAddrUnix::new(PATH)?)
    }

    fn connect_to(path: SocketAddrUnix) -> Result<Self, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let fd = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None)?;
        connect(&fd, &path)?;
        Ok(Self {
            state: Mutex::new(State {
                fd,
                path,
                queue: Queue::new(),
                has_sent: false,
                dropped: 0,
                is_stalled: false,
                has_lost: false,
            }),
            unsent: AtomicUsize::new(0),
        })
    }

    /// How many lines wait for journald.
    pub fn unsent(&self) -> usize {
        self.unsent.load(Relaxed)
    }

    /// Sends these lines after those that still wait. `lines` is empty after that, and has the memory of an earlier
    /// queue.
    pub fn send(&self, lines: &mut Queue) {
        let state = &mut *lock(&self.state);
        match state.queue.is_empty() {
            true => mem::swap(&mut state.queue, lines),
            false => state.queue.append(lines),
        }
        state.send();
        if state.queue.size() > MAX_QUEUED {
            state.make_room();
        }
        state.tell_dropped();
        self.unsent.store(state.queue.count(), Relaxed);
    }

    /// Waits until journald has received all lines, for [`LAST_PATIENCE`] at most. It finds out which unit a line is of
    /// only then, by the process that sent it: a line of a process that is gone has no unit.
    pub fn finish(&self) {
        let state = &mut *lock(&self.state);
        if state.queue.is_empty() && !state.has_sent {
            return;
        }
        let deadline = Instant::now() + LAST_PATIENCE;
        let mut pause = FIRST_PAUSE;
        let mut is_barrier_sent = false;
        while Instant::now() < deadline {
            state.send();
            state.tell_dropped();
            if state.queue.is_empty() && !is_barrier_sent {
                // journald ignores an empty datagram. That it was received means that those before it were not only
                // received, but logged.
                is_barrier_sent = state.send_one(&[]).is_ok();
            }
            if is_barrier_sent && unreceived(&state.fd) == 0 {
                return;
            }
            sleep(pause);
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl State {
    /// Sends lines as long as there is room for them.
    fn send(&mut self) {
        while !self.queue.is_empty() {
            let sent = self.send_one(self.queue.iter().next().unwrap_or_default());
            match sent {
                Ok(()) => {
                    self.queue.remove(1);
                    (self.is_stalled, self.has_sent) = (false, true);
                }
                Err(Errno::INTR) => {}
                Err(Errno::MSGSIZE | Errno::NOBUFS) => self.send_shortened(),
                Err(Errno::CONNREFUSED | Errno::NOTCONN | Errno::PIPE | Errno::CONNRESET) if !self.has_lost => {
                    self.has_lost = true;
                }
                // No room; or nothing listens at the path.
                Err(_) => return,
            }
        }
    }

    fn send_one(&self, line: &[u8]) -> Result<(), Errno> {
        if !self.has_lost {
            return rustix::net::send(&self.fd, line, SendFlags::NOSIGNAL).map(drop);
        }
        let (mut none, line) = (SendAncillaryBuffer::default(), [IoSlice::new(line)]);
        sendmsg_addr(&self.fd, &self.path, &line, &mut none, SendFlags::NOSIGNAL).map(drop)
    }

    /// Sends as much of the first line as one datagram holds. It is dropped if that fails as well.
    fn send_shortened(&mut self) {
        let mut sent = Err(Errno::MSGSIZE);
        if let Some(line) = self.queue.iter().next() {
            let mut most = line.len() / 2;
            while most >= SHORTEST && sent == Err(Errno::MSGSIZE) {
                sent = self.send_one(&shortened(line, most));
                most /= 2;
            }
        }
        self.queue.remove(1);
        self.dropped += u64::from(sent.is_err());
    }

    /// Waits for journald, and drops the last lines of a queue that is still too long.
    fn make_room(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        let before = self.queue.count();
        while !self.is_stalled && self.queue.size() > MAX_QUEUED {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let left = Timespec {
                tv_sec: 0,
                tv_nsec: left.subsec_nanos().into(),
            };
            let _ = poll(&mut [PollFd::new(&self.fd, PollFlags::OUT)], Some(&left));
            self.send();
        }
        self.is_stalled = self.queue.count() == before;
        self.dropped += self.queue.limit(MAX_QUEUED);
    }

    /// Logs how many lines were dropped, when there is room for that line.
    fn tell_dropped(&mut self) {
        if self.dropped == 0 || !self.queue.is_empty() {
            return;
        }
        let dropped = self.dropped;
        let line = format!(
            "SYSLOG_IDENTIFIER=wasm-sock\nSYSLOG_FACILITY=3\nPRIORITY=4\nWASM_SOCK_DROPPED={dropped}\n\
             MESSAGE={dropped} lines of the log were dropped: journald did not take them in time (log less: \
             `log = \"failures\"`, `log-sample`)\n"
        );
        if self.send_one(line.as_bytes()).is_ok() {
            self.dropped = 0;
        }
    }
}

/// Bytes that were sent and not received; 0 when that is not known.
fn unreceived(fd: &OwnedFd) -> i32 {
    let mut bytes = 0;
    // SAFETY: TIOCOUTQ writes one integer (`SIOCOUTQ`, unix(7)).
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if result == 0 { bytes } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixDatagram;
    use std::path::{Path, PathBuf};
    use std::{fs, thread};
    use tempfile::TempDir;

    /// A journal whose socket is this one.
    fn journal() -> (TempDir, PathBuf, UnixDatagram, Journal) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let socket = bind(&path);
        let journal = Journal::connect_to(SocketAddrUnix::new(&path).unwrap()).unwrap();
        (folder, path, socket, journal)
    }

    fn bind(path: &Path) -> UnixDatagram {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        socket
    }

    /// The line of one datagram; none of the empty one.
    fn receive(socket: &UnixDatagram) -> Vec<String> {
        let mut datagram = vec![0; 1 << 18];
        let size = socket.recv(&mut datagram).expect("a datagram within ten seconds");
        let text = str::from_utf8(&datagram[..size]).unwrap();
        text.split_terminator("\n\n").map(str::to_owned).collect()
    }

    fn lines(lines: impl IntoIterator<Item = String>) -> Queue {
        let mut queue = Queue::new();
        lines
            .into_iter()
            .for_each(|line| queue.push(|to| to.extend([line.as_bytes(), b"\n\n"].concat())));
        queue
    }

    #[test]
    fn lines_that_have_no_room_wait_and_keep_their_order() {
        let (_folder, _, socket, journal) = journal();
        // More than a socket holds (net.unix.max_dgram_qlen, and the send buffer).
        let all = || (0..50_000).map(|number| format!("line {number}"));
        journal.send(&mut lines(all()));
        assert!(journal.unsent() > 0);
        let mut received = Vec::new();
        while received.len() < 50_000 {
            journal.send(&mut Queue::new());
            received.extend(receive(&socket));
        }
        assert!(received.into_iter().eq(all()), "their order");
        assert_eq!(journal.unsent(), 0);
    }

    #[test]
    fn a_journal_that_takes_nothing_holds_up_the_host_once_and_learns_what_it_has_missed() {
        let (_folder, _, socket, journal) = journal();
        let line = "x".repeat(4096);
        let began = Instant::now();
        for _ in 0..50 {
            journal.send(&mut lines(vec![line.clone(); 16]));
        }
        let took = began.elapsed();
        assert!(took < PATIENCE * 10, "it took {took:?}");
        let mut received = 0;
        let told = loop {
            journal.send(&mut Queue::new());
            let lines = receive(&socket);
            if lines[0] != line {
                break lines;
            }
            received += lines.len();
        };
        let dropped = 50 * 16 - received;
        assert!(
            dropped > 0 && received > MAX_QUEUED / line.len(),
            "{received} were received"
        );
        assert!(
            told[0].contains(&format!("MESSAGE={dropped} lines of the log were dropped")),
            "{told:?}"
        );
    }

    #[test]
    fn a_new_socket_at_the_path_gets_what_the_old_one_cannot() {
        let (_folder, path, socket, journal) = journal();
        drop(socket);
        fs::remove_file(&path).unwrap();
        journal.send(&mut lines(["first".to_owned(), "second".to_owned()]));
        assert!(journal.unsent() > 0);
        let socket = bind(&path);
        journal.send(&mut lines(["third".to_owned()]));
        for line in ["first", "second", "third"] {
            assert_eq!(receive(&socket), [line]);
        }
    }

    #[test]
    fn a_line_that_is_larger_than_a_datagram_is_cut() {
        let (_folder, _, socket, journal) = journal();
        let long = format!("PRIORITY=6\nMESSAGE={}\n", "m".repeat(1 << 19));
        journal.send(&mut lines([long, "next".to_owned()]));
        let line = &receive(&socket)[0];
        assert!(
            line.starts_with("PRIORITY=6\nMESSAGE=mm") && line.ends_with("m\n"),
            "{}",
            line.len()
        );
        assert_eq!(receive(&socket), ["next"]);
    }

    #[test]
    fn the_end_waits_until_all_was_received_and_for_a_bounded_time() {
        let (_folder, _, socket, journal) = journal();
        journal.send(&mut lines(["last".to_owned()]));
        let began = Instant::now();
        journal.finish();
        let took = began.elapsed();
        assert!((LAST_PATIENCE..LAST_PATIENCE * 5).contains(&took), "it took {took:?}");
        assert_eq!(receive(&socket), ["last"]);
        assert_eq!(receive(&socket), [""; 0]);

        journal.send(&mut lines(["last".to_owned()]));
        let reader = thread::spawn(move || [receive(&socket), receive(&socket)]);
        journal.finish();
        assert_eq!(unreceived(&journal.state.lock().unwrap().fd), 0);
        assert_eq!(reader.join().unwrap(), [vec!["last".to_owned()], vec![]]);
    }
}
