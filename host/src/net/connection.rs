//! A connected socket, as guests and HTTP use it: its state and how it ends. Reading is in `receive.rs`, writing in
//! `send.rs`.

use crate::event_loop;
use crate::sync::lock;
use bytes::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown, sockopt};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::SetOnce;
use tokio::task::coop::consume_budget;

/// The most that one read or write moves, in bytes.
pub const CHUNK: usize = 64 * 1024;

/// How a connected socket moves bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP: a stream that can be reset.
    Tcp,
    /// Any other stream.
    Stream,
    /// Packets (`SOCK_SEQPACKET`): one a read, one a write.
    Packets,
}

/// A connected, non-blocking socket.
pub struct Connection {
    /// Registered with the event loop only when a task has to wait: a guest that answers at once and
    /// leaves never gets here.
    pub(super) registered: OnceLock<AsyncFd<Arc<OwnedFd>>>,
    pub(super) fd: Arc<OwnedFd>,
    pub(super) transport: Transport,
    /// What a component wrote and the socket did not take yet; at most [`CHUNK`] bytes.
    pub(super) unsent: Mutex<Bytes>,
    /// The rest of a packet that was larger than the buffer it was read into.
    pub(super) unread: Mutex<Bytes>,
    /// TCP: send small writes at once from the second on (the first is never held back).
    pub(super) no_delay: AtomicBool,
    /// Bytes the guest may send.
    pub(super) most: AtomicU64,
    /// It tried to send more.
    pub(super) overran: SetOnce<()>,
    /// A read of a stream that brought less than there was room for brought all there was.
    pub(super) short_is_all: AtomicBool,
    /// A stream said that its client will send no more.
    pub(super) ended: AtomicBool,
    /// The client reset it. The kernel says so once, and then that there is no more to read.
    pub(super) was_reset: AtomicBool,
    /// The guest wants to read no more.
    pub(super) reads_no_more: AtomicBool,
    /// Nothing will be sent any more.
    pub(super) sends_no_more: AtomicBool,
    /// The last that was sent did not go, because there was no room.
    pub(super) is_full: AtomicBool,
    /// Bytes the guest read.
    pub received: AtomicU64,
    /// Bytes the socket took from the guest.
    pub sent: AtomicU64,
}

pub(super) fn would_block(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
}

impl Connection {
    /// `fd` is a connected, non-blocking socket.
    pub fn new(fd: Arc<OwnedFd>, transport: Transport) -> Self {
        Self {
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

    /// Lets the guest send so many bytes; a write that would be more fails, and [`Self::overrun`] comes.
    pub fn limit_output(&self, most: u64) {
        self.most.store(most, Relaxed);
    }

    /// What comes is HTTP: none of it is urgent (`tcp(7)`), which a read would stop at. Unix sockets have more
    /// that reads stop at, such as descriptors.
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

    /// How many bytes have come and gone.
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
    /// When the event loop does not take the socket (`epoll_ctl(2)`).
    pub async fn wait(&self, interest: Interest) -> io::Result<()> {
        // What is ready already would never let the other tasks have their turn.
        consume_budget().await;
        self.registered()?.ready(interest).await?.retain_ready();
        Ok(())
    }

    /// Runs a non-blocking operation on the socket, and tells the event loop when it would block.
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
        // The event loop knows of no readiness, and did not try. But a Unix socket takes more than
        // it announces: it is "writable" only while three quarters of its buffer are free.
        Ok(operation(self.fd.as_fd())?)
    }

    /// Ends the guest's input, whatever the client sends.
    pub fn shut_down_reading(&self) {
        self.reads_no_more.store(true, Relaxed);
        lock(&self.unread).clear();
    }

    /// The guest is gone: what comes is read by others.
    pub fn take_over_reading(&self) {
        self.reads_no_more.store(false, Relaxed);
    }

    /// Tells the client that no more will come.
    pub fn shut_down_writing(&self) {
        self.sends_no_more.store(true, Relaxed);
        // Fails only when the client is gone, which the caller is about to see.
        let _ = rustix::net::shutdown(&*self.fd, Shutdown::Write);
    }

    /// Makes closing the connection a reset, so that the client can tell a truncated answer from a
    /// whole one (`SO_LINGER` of zero, `socket(7)`). A Unix socket has no reset: its client sees
    /// one (`ECONNRESET`) only when it sent something that nobody read.
    pub fn reset(&self) {
        // Fails only when the client is gone.
        let _ = sockopt::set_socket_linger(&*self.fd, Some(std::time::Duration::ZERO));
    }

    /// Has the other side gone, so that nothing can be sent any more? Not as long as a client of a
    /// Unix socket left something to be read: it may say its word and leave. (That a TCP client hung
    /// up means that it reset the connection.)
    pub fn is_hung_up(&self) -> bool {
        match self.poll(PollFlags::empty()) {
            Ok(events) if events.contains(PollFlags::ERR) => true,
            // Who has said all has not gone.
            Ok(events) if events.contains(PollFlags::HUP) && !self.sends_no_more.load(Relaxed) => {
                let has_unread =
                    matches!(rustix::io::ioctl_fionread(&*self.fd), Ok(1..)) || !lock(&self.unread).is_empty();
                self.transport == Transport::Tcp || !has_unread
            }
            Ok(_) | Err(Errno::INTR) => false,
            Err(_) => true,
        }
    }

    /// Has the client sent something that nobody has read? (What the event loop knows of is older.)
    pub fn has_unread(&self) -> bool {
        let peek = || rustix::net::recv(&*self.fd, &mut [0; 1], RecvFlags::PEEK);
        !lock(&self.unread).is_empty() || matches!(peek(), Ok((1.., _)))
    }

    /// Has the client said that it will send no more?
    pub fn is_half_closed(&self) -> bool {
        let ends = PollFlags::RDHUP | PollFlags::HUP;
        matches!(self.poll(PollFlags::RDHUP), Ok(events) if events.intersects(ends))
    }

    /// Was the end of a stream read, so that nothing can come any more?
    pub fn is_read_to_its_end(&self) -> bool {
        self.ended.load(Relaxed)
    }

    /// Is a read of 0 bytes the end, and not an empty packet?
    pub fn has_ended(&self) -> bool {
        self.transport != Transport::Packets || self.is_half_closed()
    }

    /// What `poll(2)` says of the socket now.
    fn poll(&self, interest: PollFlags) -> rustix::io::Result<PollFlags> {
        let mut fds = [PollFd::new(&*self.fd, interest)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        poll(&mut fds, Some(&now))?;
        Ok(fds[0].revents())
    }
}
