//! What comes over the wire, noticed on its way to hyper: whether a request is under way.

use crate::guest::{Connection, Stream};
use crate::lifecycle::InFlight;
use crate::module::Counted;
use crate::sync::lock;
use futures::task::AtomicWaker;
use std::collections::VecDeque;
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
    heads: Mutex<Heads>,
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
        self.since
            .get_or_insert_with(Instant::now)
            .checked_add(limit)
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
            heads: Mutex::default(),
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
        let is_between = now.phase != Phase::Busy;
        drop(now);
        let mut heads = lock(&self.heads);
        if is_between {
            heads.start();
        }
        heads.hear(bytes);
    }

    /// May the request that has just begun have told its length by `Content-Length`? To be asked once of each.
    pub fn told_its_length(&self) -> bool {
        lock(&self.heads).told.pop_front().unwrap_or(true)
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

/// Tells of each head over HTTP/1 whether a line in it begins with `Content-Length`. hyper hides that header where
/// there is `Transfer-Encoding`, too: the shape of a smuggled request (RFC 9112, 6.1).
///
/// It follows what comes as far as that is certain: from one head over a body of a length that was told to the
/// next. Where a body in chunks ends is not looked for; what follows it is certain again when it comes after the
/// answer.
struct Heads {
    at: At,
    /// The beginning of the line that comes in.
    line: [u8; LINE],
    /// How long it is so far, without its end.
    length: usize,
    /// Of heads that have come, and whose requests have not begun: was there such a line?
    told: VecDeque<bool>,
}

/// As much of a line as decides.
const LINE: usize = 48;

/// Where in what comes.
enum At {
    Head(Head),
    /// So many bytes before the next head.
    Body(u64),
    /// In a body in chunks, or beyond its end. Was the last line empty?
    Chunks(bool),
}

#[derive(Default)]
struct Head {
    has_begun: bool,
    /// There was a `Content-Length`; what it said, if that is a number.
    told: Option<Option<u64>>,
    is_chunked: bool,
}

impl Default for Heads {
    fn default() -> Self {
        Self {
            at: At::default(),
            line: [0; LINE],
            length: 0,
            told: VecDeque::new(),
        }
    }
}

impl Default for At {
    fn default() -> Self {
        Self::Head(Head::default())
    }
}

impl Heads {
    /// The next request comes: nothing of it has been heard yet.
    fn start(&mut self) {
        if let At::Chunks(true) = self.at {
            self.at = At::default();
        }
    }

    fn hear(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if let At::Body(left) = &mut self.at {
                let count = (*left).min(bytes.len() as u64);
                *left -= count;
                if *left == 0 {
                    self.at = At::default();
                }
                bytes = &bytes[count as usize..];
                continue;
            }
            let end = bytes.iter().position(|&byte| byte == b'\n');
            let line = &bytes[..end.unwrap_or(bytes.len())];
            if self.length < LINE {
                let count = line.len().min(LINE - self.length);
                self.line[self.length..self.length + count].copy_from_slice(&line[..count]);
            }
            self.length += line.len();
            let Some(end) = end else {
                return;
            };
            bytes = &bytes[end + 1..];
            self.end_line();
        }
    }

    fn end_line(&mut self) {
        let line = &self.line[..self.length.min(LINE)];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let is_whole = std::mem::take(&mut self.length) <= LINE;
        let head = match &mut self.at {
            At::Head(head) => head,
            at => {
                *at = At::Chunks(line.is_empty());
                return;
            }
        };
        if line.is_empty() && head.has_begun {
            self.told.push_back(head.told.is_some());
            self.at = match head.told {
                None if !head.is_chunked => At::default(),
                Some(Some(0)) if !head.is_chunked => At::default(),
                Some(Some(length)) if !head.is_chunked => At::Body(length),
                _ => At::Chunks(true),
            };
        } else if line.is_empty() || !head.has_begun {
            // Empty lines may come before the first.
            head.has_begun |= !line.is_empty();
        } else if let Some(value) = after(line, b"content-length") {
            let number = || {
                str::from_utf8(value)
                    .ok()?
                    .strip_prefix(':')?
                    .trim()
                    .parse()
                    .ok()
            };
            head.told = Some(number().filter(|_| is_whole));
        } else if after(line, b"transfer-encoding").is_some() {
            head.is_chunked = true;
        }
    }
}

/// What comes after a name at the beginning of a line.
fn after<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(rest)
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
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
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

#[cfg(test)]
mod tests {
    use super::Heads;

    /// What is told of the heads in these pieces; a piece that begins with `|` comes after all before it was
    /// answered.
    fn told(pieces: &[&str]) -> Vec<bool> {
        let mut heads = Heads::default();
        for piece in pieces {
            let rest = piece.strip_prefix('|');
            if rest.is_some() {
                heads.start();
            }
            heads.hear(rest.unwrap_or(piece).as_bytes());
        }
        heads.told.into()
    }

    #[test]
    fn a_content_length_is_found_wherever_the_pieces_end() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nCONTENT-Length: 5\r\n\r\n";
        assert_eq!(told(&[head]), [true]);
        for at in 0..head.len() {
            assert_eq!(told(&[&head[..at], &head[at..]]), [true], "cut at {at}");
        }
        let bytes: Vec<&str> = head.split_inclusive("").collect();
        assert_eq!(told(&bytes), [true]);
    }

    #[test]
    fn other_lines_are_not_it() {
        assert_eq!(
            told(&["GET /content-length HTTP/1.1\r\nHost: content-length\r\n\r\n"]),
            [false]
        );
        assert_eq!(
            told(&["GET / HTTP/1.1\r\nX-Content-Length: 1\r\ncontent-len: 2\r\n\r\n"]),
            [false]
        );
        assert_eq!(
            told(&["content-length: on the first line is a method\r\n\r\n"]),
            [false]
        );
    }

    #[test]
    fn each_head_has_its_own() {
        let plain = "\r\nGET / HTTP/1.1\r\n\r\n";
        let sized = "POST / HTTP/1.1\r\ncontent-length: 19\r\n\r\ncontent-length: 5\r\n";
        let chunks = "POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n";
        assert_eq!(told(&[plain, sized, chunks]), [false, true, false]);
        assert_eq!(
            told(&[sized, sized, plain, sized]),
            [true, true, false, true]
        );
        // What comes behind chunks at once is not certain; what comes later is.
        let all = "5\r\nhello\r\n0\r\n\r\n";
        assert_eq!(told(&[chunks, all, sized]), [false]);
        assert_eq!(told(&[chunks, all, &format!("|{sized}")]), [false, true]);
        assert_eq!(told(&[chunks, "5\r\nhel", &format!("|{sized}")]), [false]);
    }

    #[test]
    fn a_length_that_makes_no_sense_leaves_what_follows_uncertain() {
        let plain = "GET / HTTP/1.1\r\n\r\n";
        for length in ["", "x", "-1", "18446744073709551616", &" ".repeat(99)] {
            let head = format!("GET / HTTP/1.1\r\ncontent-length: {length}\r\n\r\n");
            assert_eq!(told(&[&head, plain]), [true], "{length:?}");
        }
    }
}
