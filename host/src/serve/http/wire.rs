//! What comes over the wire, noticed on its way to hyper: whether a request is under way.

use crate::lifecycle::InFlight;
use crate::net::{Connection, Stream};
use crate::serve::admission::Counted;
use futures::task::AtomicWaker;
use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::yield_now;
use tokio::time::Instant;

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// A request's head comes, or is the next thing that has to.
    Head,
    /// At least one request is being answered.
    Busy,
    /// Nothing, since its last request was answered.
    Idle,
}

/// What is known of a connection.
pub struct State {
    now: Mutex<Now>,
    /// Looks at the connection again when a request ends elsewhere (HTTP/2).
    watcher: AtomicWaker,
    is_http2: AtomicBool,
    /// Bytes that came since it was the connection's turn.
    turn: AtomicUsize,
    /// Bodies that come or go.
    bodies: AtomicUsize,
}

/// The most bytes that a connection may bring in one turn: hyper reads some, such as a chunk size that
/// has no end, slowly.
const TURN: usize = 64 * 1024;

struct Now {
    phase: Phase,
    since: Instant,
    /// When those that are being answered began.
    requests: Vec<Instant>,
    /// Nothing has come yet.
    is_new: bool,
    /// More than empty lines has come of the next request.
    has_begun: bool,
    /// Until the first request.
    in_flight: Option<InFlight>,
}

/// A request that is being answered: the connection is busy until this is dropped.
pub struct Busy {
    state: Arc<State>,
    since: Instant,
    /// Its place among the requests of its source.
    pub counted: Option<Counted>,
}

/// A body that comes or goes.
pub struct UnderWay(Arc<State>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.bodies.fetch_sub(1, Relaxed);
    }
}

/// How long a connection with a body under way has been silent. (While a guest thinks there is none,
/// and `timeout` is its limit.)
pub struct Silence {
    limit: Option<Duration>,
    moved: u64,
    since: Option<Instant>,
}

impl Silence {
    pub fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            moved: 0,
            since: None,
        }
    }

    /// When it will have been silent for too long, as things are now.
    pub fn deadline(&mut self, connection: &Connection, state: &State) -> Option<Instant> {
        let limit = self.limit?;
        let moved = connection.moved();
        if state.bodies.load(Relaxed) == 0 {
            self.since = None;
            return None;
        }
        if moved != self.moved {
            self.moved = moved;
            self.since = None;
        }
        self.since.get_or_insert_with(Instant::now).checked_add(limit)
    }
}

impl State {
    pub fn new(in_flight: InFlight) -> Self {
        Self {
            now: Mutex::new(Now {
                phase: Phase::Head,
                since: Instant::now(),
                requests: Vec::new(),
                is_new: true,
                has_begun: false,
                in_flight: Some(in_flight),
            }),
            watcher: AtomicWaker::new(),
            is_http2: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
            bodies: AtomicUsize::new(0),
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the connection is doing, and since when; with several requests, since the oldest.
    pub fn phase(&self) -> (Phase, Instant) {
        let now = self.now();
        (now.phase, now.since)
    }

    /// It is the connection's turn. Wakes whoever polls when the phase changes without it.
    pub fn watch(&self, context: &Context<'_>) {
        self.turn.store(0, Relaxed);
        self.watcher.register(context.waker());
    }

    /// A request's head has come.
    pub fn begin(self: &Arc<Self>, is_http2: bool) -> Busy {
        self.is_http2.store(is_http2, Relaxed);
        let since = Instant::now();
        let mut now = self.now();
        if now.requests.is_empty() {
            now.phase = Phase::Busy;
            now.since = since;
        }
        now.requests.push(since);
        now.has_begun = false;
        now.in_flight = None;
        Busy {
            state: self.clone(),
            since,
            counted: None,
        }
    }

    /// A body is under way until what is returned is dropped.
    pub fn begin_body(self: &Arc<Self>) -> UnderWay {
        self.bodies.fetch_add(1, Relaxed);
        UnderWay(self.clone())
    }

    /// Has the next request begun?
    pub fn has_begun(&self) -> bool {
        self.now().has_begun
    }

    pub fn is_http2(&self) -> bool {
        self.is_http2.load(Relaxed)
    }

    /// Bytes have come.
    fn hear(&self, bytes: &[u8]) {
        if self.is_http2.load(Relaxed) {
            // They may be anything: settings, a ping.
            return;
        }
        let mut now = self.now();
        if now.is_new {
            now.is_new = false;
            // How HTTP/2 begins (RFC 9113, 3.4), and no method of HTTP/1.
            self.is_http2.store(bytes.starts_with(b"PRI"), Relaxed);
        }
        // Empty lines before a request are none of it (RFC 9112, 2.2).
        if !bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n')) {
            now.has_begun |= now.phase != Phase::Busy;
            if now.phase == Phase::Idle {
                now.phase = Phase::Head;
                now.since = Instant::now();
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let mut now = self.state.now();
        let position = now.requests.iter().position(|since| *since == self.since);
        if let Some(position) = position {
            now.requests.swap_remove(position);
        }
        match now.requests.iter().min() {
            Some(oldest) => now.since = *oldest,
            None => {
                now.phase = Phase::Idle;
                now.since = Instant::now();
                drop(now);
                self.state.watcher.wake();
            }
        }
    }
}

/// The connection, for hyper.
pub struct Wire {
    stream: Stream,
    state: Arc<State>,
}

impl Wire {
    pub fn new(connection: Arc<Connection>, state: Arc<State>) -> Self {
        connection.carries_http();
        let stream = Stream(connection);
        Self { stream, state }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.state.turn.load(Relaxed) >= TURN {
            // Unlike a wake-up, this lets even those have their turn that wait for the kernel.
            let _ = pin!(yield_now()).poll(context);
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            let came = &buffer.filled()[before..];
            self.state.turn.fetch_add(came.len(), Relaxed);
            self.state.hear(came);
        }
        poll
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
