//! A connected socket, as guests and HTTP use it.

use crate::event_loop;
use crate::sync::lock;
use crate::trace::{self, Mark};
use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, sockopt};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::sync::SetOnce;
use tokio::task::coop::{consume_budget, poll_proceed};

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
    /// Known to the event loop only once somebody has to wait: a guest that answers at once and
    /// leaves never gets here.
    registered: OnceLock<AsyncFd<Arc<OwnedFd>>>,
    fd: Arc<OwnedFd>,
    transport: Transport,
    /// What a component wrote and the socket did not take yet; at most [`CHUNK`] bytes.
    unsent: Mutex<Bytes>,
    /// The rest of a packet that was larger than the buffer it was read into.
    unread: Mutex<Bytes>,
    /// TCP: send small writes at once from the second on (the first is never held back).
    no_delay: AtomicBool,
    /// Bytes the guest may send.
    most: AtomicU64,
    /// It tried to send more.
    overran: SetOnce<()>,
    /// A read of a stream that brought less than there was room for brought all there was.
    short_is_all: AtomicBool,
    /// A stream said that its client will send no more.
    ended: AtomicBool,
    /// The client reset it. The kernel says so once, and then that there is no more to read.
    was_reset: AtomicBool,
    /// The guest wants to read no more.
    reads_no_more: AtomicBool,
    /// Nothing will be sent any more.
    sends_no_more: AtomicBool,
    /// The last that was sent did not go, because there was no room.
    is_full: AtomicBool,
    /// Bytes the guest read.
    pub received: AtomicU64,
    /// Bytes the socket took from the guest.
    pub sent: AtomicU64,
}

fn would_block(error: &io::Error) -> bool {
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

    fn registered(&self) -> io::Result<&AsyncFd<Arc<OwnedFd>>> {
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
    fn attempt<R>(
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

    /// Reads from a stream into so much `room`.
    fn receive(
        &self,
        room: usize,
        mut operation: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        if self.reads_no_more.load(Relaxed) {
            return Ok(0);
        }
        let mut all = None;
        let result = self.attempt(Interest::READABLE, |fd| {
            let count = operation(fd)?;
            if (1..room).contains(&count) && self.short_is_all.load(Relaxed) {
                // As well as if it had been asked for more in vain (epoll(7)).
                all = Some(count);
                return Err(Errno::AGAIN);
            }
            Ok(count)
        });
        let count = all.map_or(result, Ok)?;
        if count == 0 && room > 0 {
            self.expect_end()?;
            self.ended.store(true, Relaxed);
        }
        self.received.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    /// Reads what has arrived: bytes of a stream, or one packet. 0 bytes: the client will send no
    /// more.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived; else those of `recv(2)`.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.transport == Transport::Packets {
            return self.try_recv_packet(buffer);
        }
        self.receive(buffer.len(), |fd| {
            rustix::net::recv(fd, &mut *buffer, RecvFlags::empty()).map(|(count, _)| count)
        })
    }

    /// One packet a read. What does not fit the buffer comes with the next reads, and is not lost as
    /// it would be with `recv(2)`.
    fn try_recv_packet(&self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.reads_no_more.load(Relaxed) {
            return Ok(0);
        }
        let mut unread = lock(&self.unread);
        if unread.is_empty() {
            // An empty one is taken, too, though it looks like the end.
            let mut packet = Vec::with_capacity(self.packet_size()?.max(1));
            self.attempt(Interest::READABLE, |fd| {
                rustix::net::recv(fd, spare_capacity(&mut packet), RecvFlags::empty()).map(|(count, _)| count)
            })?;
            self.received.fetch_add(packet.len() as u64, Relaxed);
            *unread = packet.into();
        }
        let count = buffer.len().min(unread.len());
        buffer[..count].copy_from_slice(&unread.split_to(count));
        Ok(count)
    }

    /// The size of the packet that comes next; 0 at the end.
    fn packet_size(&self) -> io::Result<usize> {
        let flags = RecvFlags::PEEK | RecvFlags::TRUNC;
        self.attempt(Interest::READABLE, |fd| {
            // With MSG_TRUNC the kernel tells the size of the packet, and not of what was copied.
            rustix::net::recv(fd, &mut [0u8; 1], flags).map(|(_, size)| size)
        })
    }

    /// Like [`Self::try_recv`], into the unused capacity of `buffer`, which may not be empty.
    ///
    /// # Errors
    /// As [`Self::try_recv`].
    pub fn try_recv_into(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        if self.transport == Transport::Packets {
            buffer.resize(buffer.capacity(), 0);
            let received = self.try_recv_packet(buffer);
            buffer.truncate(*received.as_ref().unwrap_or(&0));
            return received;
        }
        let room = buffer.capacity() - buffer.len();
        self.receive(room, |fd| {
            rustix::net::recv(fd, spare_capacity(buffer), RecvFlags::empty()).map(|(count, _)| count)
        })
    }

    /// Like [`Self::try_recv`], into what is not filled of `buffer`, without clearing it first.
    fn try_recv_unfilled(&self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        if self.transport == Transport::Packets {
            let count = self.try_recv_packet(buffer.initialize_unfilled())?;
            buffer.advance(count);
            return Ok(());
        }
        // SAFETY: recv(2) writes to it, and nothing is made uninitialised that was not.
        let unfilled = unsafe { buffer.unfilled_mut() };
        let count = self.receive(unfilled.len(), |fd| {
            let received = rustix::net::recv(fd, &mut *unfilled, RecvFlags::empty());
            received.map(|((filled, _), _)| filled.len())
        })?;
        // SAFETY: so many bytes were written.
        unsafe { buffer.assume_init(count) };
        buffer.advance(count);
        Ok(())
    }

    /// The beginning of what can be read, which stays there.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived; else those of `recv(2)`.
    pub fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let unread = lock(&self.unread);
        if !unread.is_empty() {
            let count = buffer.len().min(unread.len());
            buffer[..count].copy_from_slice(&unread[..count]);
            return Ok(count);
        }
        drop(unread);
        if self.reads_no_more.load(Relaxed) {
            return Ok(0);
        }
        let count = self.attempt(Interest::READABLE, |fd| {
            rustix::net::recv(fd, &mut *buffer, RecvFlags::PEEK).map(|(count, _)| count)
        })?;
        if count == 0 {
            self.expect_end()?;
        }
        Ok(count)
    }

    /// There is nothing to read, and never will be: is it the end, as it seems?
    fn expect_end(&self) -> io::Result<()> {
        match self.was_reset.load(Relaxed) {
            true => Err(Errno::CONNRESET.into()),
            false => Ok(()),
        }
    }

    /// Waits until there is something to read, the end of the input included.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`; one of the socket is left to whoever reads.
    pub async fn readable(&self) -> io::Result<()> {
        if self.reads_no_more.load(Relaxed) || !lock(&self.unread).is_empty() {
            return Ok(());
        }
        loop {
            self.wait(Interest::READABLE).await?;
            // The event loop may remember input that was read since.
            match self.peek(&mut [0; 1]) {
                Err(e) if would_block(&e) => {}
                _ => return Ok(()),
            }
        }
    }

    /// Reads at least one byte, or 0 when the client will send no more.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        consume_budget().await;
        loop {
            match self.try_recv(buffer) {
                Err(e) if would_block(&e) => self.wait(Interest::READABLE).await?,
                result => return result,
            }
        }
    }

    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        self.try_send_with(bytes.len(), |fd| rustix::net::send(fd, bytes, SendFlags::NOSIGNAL))
    }

    /// Writes as much of `buffers` as goes without waiting, or all of them as one packet.
    ///
    /// # Errors
    /// `WouldBlock` when nothing does; else those of `send(2)`.
    pub fn try_send_vectored(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        if let [buffer] = buffers {
            return self.try_send(buffer);
        }
        let size = buffers.iter().map(|buffer| buffer.len()).sum();
        self.try_send_with(size, |fd| {
            let mut no_more = SendAncillaryBuffer::default();
            rustix::net::sendmsg(fd, buffers, &mut no_more, SendFlags::NOSIGNAL)
        })
    }

    fn try_send_with(
        &self,
        size: usize,
        send: impl FnMut(BorrowedFd<'_>) -> rustix::io::Result<usize>,
    ) -> io::Result<usize> {
        let sent = self.sent.load(Relaxed);
        if sent.saturating_add(size as u64) > self.most.load(Relaxed) {
            // The first time is enough.
            let _ = self.overran.set(());
            return Err(Errno::PIPE.into());
        }
        if self.no_delay.load(Relaxed) && sent > 0 {
            self.no_delay.store(false, Relaxed);
            // Worth a try only: without it the answer is late, not lost.
            let _ = sockopt::set_tcp_nodelay(&*self.fd, true);
        }
        let sent = self.attempt(Interest::WRITABLE, send);
        self.is_full.store(sent.as_ref().is_err_and(would_block), Relaxed);
        let count = sent?;
        trace::pass(Mark::FirstByte);
        self.sent.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    /// Writes some of `buffers`, or all of them as one packet. Returns how many bytes.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub async fn send_some(&self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        consume_budget().await;
        loop {
            match self.try_send_vectored(buffers) {
                Err(e) if would_block(&e) => self.wait(Interest::WRITABLE).await?,
                result => return result,
            }
        }
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            bytes = &bytes[self.send_some(&[IoSlice::new(bytes)]).await?..];
        }
        Ok(())
    }

    /// Takes `bytes` to send them as soon as the socket lets it. `false`: what was taken before is
    /// not sent yet.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub fn enqueue(&self, bytes: Bytes) -> io::Result<bool> {
        let mut unsent = lock(&self.unsent);
        if !unsent.is_empty() {
            return Ok(false);
        }
        *unsent = bytes;
        drop(unsent);
        self.try_flush()?;
        Ok(true)
    }

    /// Hands what is still unsent to the socket. `true` when nothing is left.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub fn try_flush(&self) -> io::Result<bool> {
        let mut unsent = lock(&self.unsent);
        while !unsent.is_empty() {
            match self.try_send(&unsent) {
                Ok(count) => drop(unsent.split_to(count)),
                Err(e) if would_block(&e) => return Ok(false),
                Err(e) => {
                    // It will not go better another time, and a packet that is too large would be
                    // in the way of the next.
                    unsent.clear();
                    return Err(e);
                }
            }
        }
        Ok(true)
    }

    /// Waits until everything the guest wrote was taken by the socket.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub async fn flush(&self) -> io::Result<()> {
        while !self.try_flush()? {
            self.wait(Interest::WRITABLE).await?;
        }
        Ok(())
    }

    /// Waits until there may be room again for what did not go.
    ///
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub async fn writable(&self) -> io::Result<()> {
        match self.is_full.load(Relaxed) {
            true => self.wait(Interest::WRITABLE).await,
            false => Ok(()),
        }
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

/// A connection for whoever reads and writes it by polling.
#[derive(Clone)]
pub struct Stream(pub Arc<Connection>);

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        // Whoever always finds something to read must let the other tasks have their turn.
        let turn = ready!(poll_proceed(context));
        loop {
            match self.0.try_recv_unfilled(buffer) {
                Err(e) if would_block(&e) => {
                    let registered = self.0.registered()?;
                    ready!(registered.poll_read_ready(context))?.retain_ready();
                }
                result => {
                    turn.made_progress();
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl Stream {
    fn poll_write_with(
        &self,
        context: &mut Context<'_>,
        mut send: impl FnMut(&Connection) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        let turn = ready!(poll_proceed(context));
        loop {
            match send(&self.0) {
                Err(e) if would_block(&e) => {
                    let registered = self.0.registered()?;
                    ready!(registered.poll_write_ready(context))?.retain_ready();
                }
                result => {
                    turn.made_progress();
                    return Poll::Ready(result);
                }
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |connection| connection.try_send(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_with(context, |connection| connection.try_send_vectored(buffers))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.shut_down_writing();
        Poll::Ready(Ok(()))
    }
}
