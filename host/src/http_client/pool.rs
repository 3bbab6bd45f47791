//! The connections of a handler: HTTP/1.1 connections that wait for their next request, and HTTP/2 connections, which
//! take several at a time.

use super::origin::Origin;
use super::upload::Upload;
use crate::sync::lock;
use hyper::client::conn::{http1, http2};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, Weak};
use std::thread::{self, ThreadId};
use std::time::Duration;
use tokio::sync::OwnedMutexGuard;
use tokio::time::{Instant, sleep_until};

/// How long a connection is kept that no request uses: shorter than most servers keep it, so that few requests find
/// one that is just being closed.
const KEEP_IDLE: Duration = Duration::from_secs(15);

/// The most requests on an HTTP/2 connection at a time; more get another connection.
pub const STREAMS: usize = 16;

/// A connection that is ready for a request.
pub enum Ready {
    Http1(Http1),
    Http2(Stream),
}

/// An HTTP/1.1 connection, with no request on it.
pub struct Http1 {
    pub sender: http1::SendRequest<Upload>,
    origin: Arc<Origin>,
    thread: ThreadId,
    idle_since: Instant,
}

/// An HTTP/2 connection.
pub struct Http2 {
    sender: http2::SendRequest<Upload>,
    origin: Arc<Origin>,
    thread: ThreadId,
    streams: Arc<Streams>,
    idle_since: Instant,
}

/// The requests on an HTTP/2 connection.
pub struct Streams {
    now: AtomicUsize,
    /// As many as its server allows (`SETTINGS_MAX_CONCURRENT_STREAMS`), and [`STREAMS`].
    most: AtomicUsize,
}

/// Room for one request on an HTTP/2 connection, until it is dropped.
pub struct Stream {
    pub sender: http2::SendRequest<Upload>,
    streams: Arc<Streams>,
}

/// What is known of a server that was connected to by TLS before: it has chosen HTTP/1.1 (`false`) or HTTP/2.
type Versions = HashMap<Origin, bool>;

pub struct Pool {
    state: Mutex<State>,
    /// The most connections over HTTP/1.1, those with a request included.
    most: usize,
}

#[derive(Default)]
struct State {
    /// The one that was used last is at the end.
    http1: Vec<Http1>,
    http2: Vec<Http2>,
    versions: Versions,
    /// Held while a connection is made to a server that may speak HTTP/2: others may find room on it.
    making: HashMap<Origin, Weak<tokio::sync::Mutex<()>>>,
    /// A task will close what is idle for too long.
    is_swept: bool,
}

impl Http1 {
    /// A connection that is driven by a task of this thread.
    pub fn new(sender: http1::SendRequest<Upload>, origin: Arc<Origin>, thread: ThreadId) -> Self {
        Self {
            sender,
            origin,
            thread,
            idle_since: Instant::now(),
        }
    }
}

impl Http2 {
    /// The room that is left for one more request.
    fn stream(&self) -> Option<Stream> {
        let is_usable = !self.sender.is_closed() && self.streams.have_room();
        is_usable.then(|| {
            self.streams.now.fetch_add(1, Relaxed);
            Stream {
                sender: self.sender.clone(),
                streams: self.streams.clone(),
            }
        })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.streams.now.fetch_sub(1, Relaxed);
    }
}

impl Streams {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            now: AtomicUsize::new(0),
            most: AtomicUsize::new(STREAMS),
        })
    }

    /// The server allows so many. With none, one waits until it allows more.
    pub fn allow(&self, most: usize) {
        self.most.store(most.clamp(1, STREAMS), Relaxed);
    }

    fn have_room(&self) -> bool {
        self.now.load(Relaxed) < self.most.load(Relaxed)
    }
}

impl Pool {
    /// Keeps at most so many connections.
    pub fn new(most: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::default(),
            most,
        })
    }

    /// A connection that can take a request now; one that this thread drives, if there is one.
    pub fn take(&self, origin: &Origin) -> Option<Ready> {
        let here = thread::current().id();
        let mut state = lock(&self.state);
        state.drop_closed();
        let fits = |connection: &Http1| *connection.origin == *origin && connection.sender.is_ready();
        let own = |connection: &Http1| fits(connection) && connection.thread == here;
        let found = state.http1.iter().rposition(own);
        if let Some(index) = found.or_else(|| state.http1.iter().rposition(fits)) {
            return Some(Ready::Http1(state.http1.remove(index)));
        }
        let of_origin = || state.http2.iter().filter(|connection| *connection.origin == *origin);
        let own = of_origin().filter(|connection| connection.thread == here);
        let stream = own.chain(of_origin()).find_map(Http2::stream);
        stream.map(Ready::Http2)
    }

    /// Is there a connection whose last request is over, but which its task has not made ready yet?
    pub fn is_about_to_be_ready(&self, origin: &Origin) -> bool {
        let state = lock(&self.state);
        let mut connections = state.http1.iter();
        connections.any(|connection| *connection.origin == *origin)
    }

    /// Takes an HTTP/1.1 connection whose request is over, for the next one.
    pub fn give(self: &Arc<Self>, mut connection: Http1) {
        if connection.sender.is_closed() {
            return;
        }
        connection.idle_since = Instant::now();
        let mut state = lock(&self.state);
        if state.http1.len() >= self.most {
            // The one that was used longest ago is closed.
            state.http1.remove(0);
        }
        state.http1.push(connection);
        self.sweep_later(&mut state);
    }

    /// Closes idle connections, so that one more may be made while so many requests are `under_way`.
    pub fn make_room(&self, under_way: usize) {
        let mut state = lock(&self.state);
        let most = self.most.saturating_sub(under_way);
        // The ones that were used longest ago.
        let excess = state.http1.len().saturating_sub(most);
        state.http1.drain(..excess);
    }

    /// Takes a new HTTP/2 connection. Returns room for its first request.
    pub fn share(
        self: &Arc<Self>,
        sender: http2::SendRequest<Upload>,
        origin: Arc<Origin>,
        thread: ThreadId,
        streams: Arc<Streams>,
    ) -> Option<Stream> {
        let connection = Http2 {
            sender,
            origin,
            thread,
            streams,
            idle_since: Instant::now(),
        };
        let first = connection.stream();
        let mut state = lock(&self.state);
        state.http2.push(connection);
        self.sweep_later(&mut state);
        first
    }

    /// Notes what the server of `origin` has chosen.
    pub fn learn(&self, origin: &Origin, is_http2: bool) {
        let versions = &mut lock(&self.state).versions;
        // Grants of networks may lead to any number of servers.
        if versions.len() >= self.most && !versions.contains_key(origin) {
            versions.clear();
        }
        versions.insert(origin.clone(), is_http2);
    }

    /// Waits for the turn to connect to `origin`, if its server may speak HTTP/2.
    pub async fn turn_to_connect(&self, origin: &Origin) -> Option<OwnedMutexGuard<()>> {
        let turn = {
            let mut state = lock(&self.state);
            if !origin.is_tls || state.versions.get(origin) == Some(&false) {
                return None;
            }
            state.making.retain(|_, turn| turn.strong_count() > 0);
            let known = state.making.get(origin).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::default();
                state.making.insert(origin.clone(), Arc::downgrade(&turn));
                turn
            })
        };
        Some(turn.lock_owned().await)
    }

    /// Sees to it that connections are closed which nothing uses.
    fn sweep_later(self: &Arc<Self>, state: &mut State) {
        if std::mem::replace(&mut state.is_swept, true) {
            return;
        }
        let pool = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut next = Instant::now() + KEEP_IDLE;
            loop {
                sleep_until(next).await;
                match pool.upgrade().and_then(|pool| pool.sweep(Instant::now())) {
                    Some(at) => next = at,
                    None => return,
                }
            }
        });
    }

    /// Closes connections that were idle for too long. Returns when to do so again; `None`: nothing is left.
    fn sweep(&self, now: Instant) -> Option<Instant> {
        let mut state = lock(&self.state);
        state.drop_closed();
        let is_fresh = |since: Instant| since + KEEP_IDLE > now;
        state.http1.retain(|connection| is_fresh(connection.idle_since));
        state.http2.retain_mut(|connection| {
            if connection.streams.now.load(Relaxed) > 0 {
                connection.idle_since = now;
            }
            is_fresh(connection.idle_since)
        });
        let http1 = state.http1.iter().map(|connection| connection.idle_since);
        let http2 = state.http2.iter().map(|connection| connection.idle_since);
        let next = http1.chain(http2).min();
        state.is_swept = next.is_some();
        next.map(|since| since + KEEP_IDLE)
    }
}

impl State {
    fn drop_closed(&mut self) {
        self.http1.retain(|connection| !connection.sender.is_closed());
        self.http2.retain(|connection| !connection.sender.is_closed());
    }
}
