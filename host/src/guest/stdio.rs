//! A connection as a guest's standard input and output.
//!
//! The streams read and write the socket themselves: no task and no buffer stands between a guest
//! and its client, so a guest that does not read makes its client wait, and the other way round.

use bytes::Bytes;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, sockopt};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::task::coop::consume_budget;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::cli::{IsTerminal, StdinStream, StdoutStream};
use wasmtime_wasi::p2::{InputStream, OutputStream, Pollable, StreamError, StreamResult};

/// The most that one read or write moves, in bytes.
const CHUNK: usize = 64 * 1024;

/// A connected, non-blocking stream socket.
pub struct Connection {
    /// Known to the event loop only once somebody has to wait: a guest that answers at once and
    /// leaves never gets here.
    registered: OnceLock<AsyncFd<Arc<OwnedFd>>>,
    fd: Arc<OwnedFd>,
    /// What a component wrote and the socket did not take yet; at most [`CHUNK`] bytes.
    unsent: Mutex<Bytes>,
    is_tcp: bool,
    /// TCP: send small writes at once from the second on (the first is never held back).
    no_delay: AtomicBool,
    /// Bytes the guest read.
    pub received: AtomicU64,
    /// Bytes the socket took from the guest.
    pub sent: AtomicU64,
}

impl Connection {
    /// `fd` is a connected, non-blocking stream socket.
    pub fn new(fd: OwnedFd, is_tcp: bool) -> Self {
        Self {
            registered: OnceLock::new(),
            fd: Arc::new(fd),
            unsent: Mutex::default(),
            is_tcp,
            no_delay: AtomicBool::new(is_tcp),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    fn registered(&self) -> io::Result<&AsyncFd<Arc<OwnedFd>>> {
        if let Some(registered) = self.registered.get() {
            return Ok(registered);
        }
        // SAFETY: an owned descriptor has one number, and is open, for as long as it lives.
        let registered = unsafe { AsyncFd::register(self.fd.clone()) }?;
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
        if tried {
            return result;
        }
        // The event loop knows of no readiness, and did not try. But a Unix socket takes more than
        // it announces: it is "writable" only while three quarters of its buffer are free.
        Ok(operation(self.fd.as_fd())?)
    }

    /// Reads what has arrived. 0 bytes: the client will send no more.
    ///
    /// # Errors
    /// `WouldBlock` when nothing has arrived; else those of `recv(2)`.
    pub fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.attempt(Interest::READABLE, |fd| {
            rustix::net::recv(fd, &mut *buffer, RecvFlags::empty()).map(|(count, _)| count)
        })?;
        self.received.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    /// Like [`Self::try_recv`], into the unused capacity of `buffer`, which may not be empty.
    fn try_recv_into(&self, buffer: &mut Vec<u8>) -> io::Result<usize> {
        let count = self.attempt(Interest::READABLE, |fd| {
            rustix::net::recv(fd, spare_capacity(buffer), RecvFlags::empty())
                .map(|(count, _)| count)
        })?;
        self.received.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    /// Is there anything to read, the end of the input included? Else `WouldBlock`.
    fn peek(&self) -> io::Result<usize> {
        self.attempt(Interest::READABLE, |fd| {
            rustix::net::recv(fd, &mut [0u8; 1], RecvFlags::PEEK).map(|(count, _)| count)
        })
    }

    /// Reads at least one byte, or 0 when the client will send no more.
    ///
    /// # Errors
    /// Those of `recv(2)`.
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        consume_budget().await;
        loop {
            match self.try_recv(buffer) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(Interest::READABLE).await?
                }
                result => return result,
            }
        }
    }

    fn try_send(&self, bytes: &[u8]) -> io::Result<usize> {
        if self.no_delay.load(Relaxed) && self.sent.load(Relaxed) > 0 {
            self.no_delay.store(false, Relaxed);
            // Worth a try only: without it the answer is late, not lost.
            let _ = sockopt::set_tcp_nodelay(&*self.fd, true);
        }
        let count = self.attempt(Interest::WRITABLE, |fd| {
            rustix::net::send(fd, bytes, SendFlags::NOSIGNAL)
        })?;
        self.sent.fetch_add(count as u64, Relaxed);
        Ok(count)
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// Those of `send(2)`.
    pub async fn send(&self, mut bytes: &[u8]) -> io::Result<()> {
        consume_budget().await;
        while !bytes.is_empty() {
            match self.try_send(bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(Interest::WRITABLE).await?
                }
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Hands what is still unsent to the socket. `true` when nothing is left.
    fn try_flush(&self) -> io::Result<bool> {
        let mut unsent = self.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        while !unsent.is_empty() {
            match self.try_send(&unsent) {
                Ok(count) => drop(unsent.split_to(count)),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(e) => return Err(e),
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

    /// Tells the client that no more will come.
    pub fn shut_down_writing(&self) {
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
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut fds = [PollFd::new(&*self.fd, PollFlags::empty())];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut fds, Some(&now)) {
            Ok(_) if fds[0].revents().contains(PollFlags::ERR) => true,
            Ok(_) if fds[0].revents().contains(PollFlags::HUP) => {
                self.is_tcp || !matches!(rustix::io::ioctl_fionread(&*self.fd), Ok(1..))
            }
            Ok(_) | Err(Errno::INTR) => false,
            Err(_) => true,
        }
    }
}

/// The guest's standard input.
pub struct Stdin(pub Arc<Connection>);

/// The guest's standard output.
pub struct Stdout(pub Arc<Connection>);

impl IsTerminal for Stdin {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl IsTerminal for Stdout {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for Stdin {
    fn p2_stream(&self) -> Box<dyn InputStream> {
        Box::new(Stdin(self.0.clone()))
    }

    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        unreachable!("only WASI 0.3 asks for this stream, and no linker here offers WASI 0.3")
    }
}

impl StdoutStream for Stdout {
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Stdout(self.0.clone()))
    }

    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        unreachable!("only WASI 0.3 asks for this stream, and no linker here offers WASI 0.3")
    }
}

/// Guests see a connection that broke as closed, as `EPIPE` and `ECONNRESET` both mean.
fn stream_error(error: io::Error) -> StreamError {
    match error.kind() {
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => StreamError::Closed,
        _ => StreamError::LastOperationFailed(error.into()),
    }
}

#[async_trait]
impl Pollable for Stdin {
    async fn ready(&mut self) {
        // The event loop may remember input that was read since, and a guest that was told there is
        // some goes on to read it, and waits. An error is one that its read meets, too.
        while self.0.wait(Interest::READABLE).await.is_ok() {
            match self.0.peek() {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                _ => return,
            }
        }
    }
}

#[async_trait]
impl InputStream for Stdin {
    fn read(&mut self, size: usize) -> StreamResult<Bytes> {
        if size == 0 {
            return Ok(Bytes::new());
        }
        let mut buffer = Vec::with_capacity(size.min(CHUNK));
        match self.0.try_recv_into(&mut buffer) {
            Ok(0) => Err(StreamError::Closed),
            Ok(_) => Ok(buffer.into()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Bytes::new()),
            Err(e) => Err(stream_error(e)),
        }
    }

    async fn blocking_read(&mut self, size: usize) -> StreamResult<Bytes> {
        loop {
            let bytes = self.read(size)?;
            if !bytes.is_empty() || size == 0 {
                return Ok(bytes);
            }
            self.0
                .wait(Interest::READABLE)
                .await
                .map_err(stream_error)?;
        }
    }
}

#[async_trait]
impl Pollable for Stdout {
    async fn ready(&mut self) {
        // An error is reported by the `check_write` that follows.
        let _ = self.0.flush().await;
    }
}

#[async_trait]
impl OutputStream for Stdout {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        let mut unsent = self.0.unsent.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes.len() > CHUNK || !unsent.is_empty() {
            return Err(StreamError::trap("wrote more than check-write allowed"));
        }
        *unsent = bytes;
        drop(unsent);
        self.flush()
    }

    fn flush(&mut self) -> StreamResult<()> {
        self.0.try_flush().map(drop).map_err(stream_error)
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        let flushed = self.0.try_flush().map_err(stream_error)?;
        Ok(if flushed { CHUNK } else { 0 })
    }

    async fn blocking_write_and_flush(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.flush().await.map_err(stream_error)?;
        self.0.send(&bytes).await.map_err(stream_error)
    }
}
