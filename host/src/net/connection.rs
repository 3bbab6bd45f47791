//! A connected socket, as guests and HTTP use it: state, readiness, half-close, reset. Reading is in `receive.rs`,
//! writing in `send.rs`.

use crate::event_loop;
use crate::journal::ConnectionId;
use crate::sync::lock;
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, sockopt};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::SetOnce;
use tokio::task::coop::consume_budget;

/// The most that one read or write transfers, in bytes.
pub const CHUNK: usize = 64 * 1024;

/// The transport of a connected socket: stream or packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP: a stream that can be reset.
    Tcp,
    /// Any other stream.
    Stream,
    /// Packets (`SOCK_SEQPACKET`): one for each read and each write.
    Packets,
}

/// A connected, non-blocking socket.
pub struct Connection {
    /// Its name in the log.
    pub id: ConnectionId,
    /// When it was accepted.
    pub accepted: Instant,
    /// Nanoseconds from then to the first byte that the socket accepted; 0: none yet.
    pub(super) first_byte: AtomicU64,
    /// Registered with the event loop only when a task has to wait, so never for a guest that answers at once and
    /// ends.
    pub(super) registered: OnceLock<AsyncFd<Arc<OwnedFd>>>,
    pub(super) fd: Arc<OwnedFd>,
    pub(super) transport: Transport,
    /// Bytes that a component wrote and that are not sent yet; at most [`CHUNK`].
    pub(super) unsent: Mutex<Bytes>,
    /// The rest of a packet that was larger than the buffer it was read into.
    pub(super) unread: Mutex<Bytes>,
    /// TCP: set `TCP_NODELAY` at the second write (the first is never delayed).
    pub(super) no_delay: AtomicBool,
    /// Bytes that the guest may send.
    pub(super) most: AtomicU64,
    /// Set when it tried to send more.
    pub(super) overran: SetOnce<()>,
    /// A read from the stream that returns fewer bytes than requested has emptied the receive queue.
    pub(super) short_is_all: AtomicBool,
    /// The end of the stream was read: the client will send no more.
    pub(super) ended: AtomicBool,
    /// The client reset the connection. The kernel reports that once, and the end of the stream after that.
    pub(super) was_reset: AtomicBool,
    /// The guest has shut down reading.
    pub(super) reads_no_more: AtomicBool,
    /// Writing is shut down.
    pub(super) sends_no_more: AtomicBool,
    /// The last write would have blocked (`EAGAIN`).
    pub(super) is_full: AtomicBool,
    /// Bytes that the guest has read.
    pub received: AtomicU64,
    /// Bytes that the socket has accepted from the guest.
    pub sent: AtomicU64,
}

pub(super) fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

impl Connection {
    /// `fd` is a connected, non-blocking socket, which was accepted just now.
    pub fn new(fd: Arc<OwnedFd>, transport: Transport) -> Self {
        Self {
            id: ConnectionId::next(),
            accepted: Instant::now(),
            first_byte: AtomicU64::new(0),
            registered: OnceLock::new(),
            fd,
            transport,
            unsent: Mutex::default(),
            unread: Mutex::default(),
            no_delay: AtomicBool::new(transport == Transport::Tcp),
            most: AtomicU64::new(u64::MAX),
            overran: SetOnce::new(),
            short_is_all: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            was_reset: AtomicBool::new(false),
            reads_no_more: AtomicBool::new(false),
            sends_no_more: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Limits what the guest may send, in bytes; a write beyond that fails, and [`Self::overrun`] completes.
    pub fn limit_output(&self, most: u64) {
        self.most.store(most, Relaxed);
    }

    /// Marks a TCP connection as HTTP: without urgent data (`tcp(7)`), a short read means that the receive queue is
    /// empty. On Unix sockets reads also stop for other reasons, such as passed descriptors.
    pub fn carries_http(&self) {
        self.short_is_all.store(self.transport == Transport::Tcp, Relaxed);
    }

    /// Waits until the guest tries to send more than it may.
    pub async fn overrun(&self) {
        self.overran.wait().await;
    }

    pub fn has_overrun(&self) -> bool {
        self.overran.get().is_some()
    }

    /// The time from its acceptance to the first byte of the answer, if there was one.
    pub fn first_byte(&self) -> Option<Duration> {
        let nanoseconds = self.first_byte.load(Relaxed);
        (nanoseconds != 0).then(|| Duration::from_nanos(nanoseconds))
    }

    /// Bytes read and sent, together.
    pub fn moved(&self) -> u64 {
        self.received.load(Relaxed) + self.sent.load(Relaxed)
    }

    pub(super) fn registered(&self) -> io::Result<&AsyncFd<Arc<OwnedFd>>> {
        if let Some(registered) = self.registered.get() {
            return Ok(registered);
        }
        let registered = event_loop::register_shared(self.fd.clone())?;
        Ok(self.registered.get_or_init(|| registered))
    }

    /// Waits until the socket may be ready for `interest`.
    ///
    /// # Errors
    /// When the socket cannot be registered with the event loop (`epoll_ctl(2)`).
    pub async fn wait(&self, interest: Interest) -> io::Result<()> {
        // A socket that is always ready would keep other tasks of the thread from being polled.
        consume_budget().await;
        self.registered()?.ready(interest).await?.retain_ready();
        Ok(())
    }

    /// Runs a non-blocking operation on the socket, and clears the event loop's readiness when it would block.
    pub(super) fn attempt<R>(
        &self,
        interest: Interest,
        operation: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<R>,
    ) -> io::Result<R> {
        let result = self.attempt_once(interest, operation);
        if let Err(error) = &result
            && error.kind() == io::ErrorKind::ConnectionReset
        {
            self.was_reset.store(true, Relaxed);
        }
        result
    }

    fn attempt_once<R>(
        &self,
        interest: Interest,
        mut operation: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<R>,
    ) -> io::Result<R> {
        let Some(registered) = self.registered.get() else {
            return Ok(operation(self.fd.as_fd())?);
        };
        let mut tried = false;
        let result = registered.try_io(interest, |fd| {
            tried = true;
            Ok(operation(fd.as_fd())?)
        });
        if tried || interest.is_readable() {
            return result;
        }
        // The event loop has no readiness, and did not try. But a Unix socket may accept a write although it is not
        // reported as writable: it is only while three quarters of its buffer are free.
        Ok(operation(self.fd.as_fd())?)
    }

    /// Ends the guest's input, even if the client sends more.
    pub fn shut_down_reading(&self) {
        self.reads_no_more.store(true, Relaxed);
        lock(&self.unread).clear();
    }

    /// The guest has ended: the host may read what the client still sends.
    pub fn take_over_reading(&self) {
        self.reads_no_more.store(false, Relaxed);
    }

    /// Ends the output, which the client sees as end of file (`shutdown(2)`, `SHUT_WR`).
    pub fn shut_down_writing(&self) {
        self.sends_no_more.store(true, Relaxed);
        // Fails only when the connection is closed or reset, which the caller is about to see.
        let _ = rustix::net::shutdown(&*self.fd, Shutdown::Write);
    }

    /// Makes close(2) reset the connection, so that the client can tell a truncated answer from a complete one
    /// (`SO_LINGER` of zero, `socket(7)`). Unix sockets have no reset: the client gets `ECONNRESET` only when there
    /// is unread input.
    pub fn reset(&self) {
        // Fails only when the connection is closed or reset.
        let _ = sockopt::set_socket_linger(&*self.fd, Some(std::time::Duration::ZERO));
    }

    /// Has the client closed or reset the connection, so that nothing can be sent any more? On a Unix socket, not
    /// while there is unread input: a client may send a message and close at once. (On TCP, `POLLHUP` means that the
    /// client reset the connection.)
    pub fn is_hung_up(&self) -> bool {
        match self.poll(PollFlags::empty()) {
            Ok(events) if events.contains(PollFlags::ERR) => true,
            // After the host shut down writing, `POLLHUP` only means that both directions have ended.
            Ok(events) if events.contains(PollFlags::HUP) && !self.sends_no_more.load(Relaxed) => {
                let has_unread =
                    matches!(rustix::io::ioctl_fionread(&*self.fd), Ok(1..)) || !lock(&self.unread).is_empty();
                self.transport == Transport::Tcp || !has_unread
            }
            Ok(_) | Err(Errno::INTR) => false,
            Err(_) => true,
        }
    }

    /// Is there unread input? (Asks the kernel, because the event loop's readiness may be stale.)
    pub fn has_unread(&self) -> bool {
        let peek = || rustix::net::recv(&*self.fd, &mut [0; 1], RecvFlags::PEEK);
        !lock(&self.unread).is_empty() || matches!(peek(), Ok((1.., _)))
    }

    /// Has the client shut down its writing side?
    pub fn is_half_closed(&self) -> bool {
        let ends = PollFlags::RDHUP | PollFlags::HUP;
        matches!(self.poll(PollFlags::RDHUP), Ok(events) if events.intersects(ends))
    }

    /// Was the end of the stream read?
    pub fn is_read_to_its_end(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Does a read of 0 bytes mean the end, and not an empty packet?
    pub fn has_ended(&self) -> bool {
        self.transport != Transport::Packets || self.is_half_closed()
    }

    /// The current readiness of the socket, by `poll(2)`.
    fn poll(&self, interest: PollFlags) -> rustix::io::Result<PollFlags> {
        let mut fds = [PollFd::new(&*self.fd, interest)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now))?;
        Ok(fds[0].revents())
    }
}
