//! HTTP/1.1 and HTTP/2 on one connection: each request goes to a guest.
//!
//! `hyper` speaks the protocols. Here is what it leaves to others: how long a client may take, when
//! an idle connection closes, and what is answered when no guest does.

mod download;
mod exchange;
mod head;
mod prefetch;
mod request;
mod respond;
mod upload;
mod wire;

use self::wire::{Phase, Silence, Wire};
use super::Host;
use super::stream::{ResetOnDrop, linger, vanished};
use crate::guest::{Connection, Peer};
use crate::lifecycle::InFlight;
use crate::module::Handler;
use ::http::StatusCode;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::Duration;
use tokio::io::Interest;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Requests that one HTTP/2 connection may have at a time.
const STREAMS: u32 = 100;

/// What one HTTP/2 request may bring of its body that its guest has not read, in bytes. All of a connection's
/// together have room for as much each: none waits for the guest of another.
const STREAM_WINDOW: u32 = 128 * 1024;

/// As many bytes of a head's size allow one header line in it over HTTP/1. (Over HTTP/2 a line counts 32 bytes
/// beside its name and value: RFC 9113, 6.5.2.) hyper has room for all of them made for each request.
const LINE: u32 = 64;

/// The most that `http::HeaderMap` takes, with room to spare.
const MOST_LINES: u32 = 16 * 1024;

/// What of an answer waits for the client of a HTTP/2 request, in bytes.
const SEND_BUFFER: usize = 32 * 1024;

/// How long a connection that closes is given to do so.
const GRACE: Duration = Duration::from_secs(2);

/// How long a client whose handler has no program is given to say that it speaks HTTP.
const FIRST_WORDS: Duration = Duration::from_millis(200);

/// What the requests of a connection share.
pub struct Session {
    host: Arc<Host>,
    handler: Arc<Handler>,
    connection: Arc<Connection>,
    peer: Peer,
    wire: Arc<wire::State>,
    /// An answer was broken off, which only a reset can tell.
    is_broken: AtomicBool,
    /// It was silent in the middle of a body, for too long.
    is_silent: AtomicBool,
}

/// How a connection came to its end.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// All was said; if only that the client makes no sense.
    Said,
    /// The client took too long to say what it wants.
    SlowHead,
    /// The client is no longer there.
    Gone,
}

/// Serves one connection, from its acceptance to its end. It counts as in flight until its first
/// request has come, and then with each request.
pub async fn serve(
    host: &Arc<Host>,
    handler: &Arc<Handler>,
    connection: &Arc<Connection>,
    guard: ResetOnDrop<'_>,
    peer: Peer,
    in_flight: InFlight,
) {
    let _open = host.activity.open();
    let session = Arc::new(Session {
        host: host.clone(),
        handler: handler.clone(),
        connection: connection.clone(),
        peer,
        wire: Arc::new(wire::State::new(in_flight)),
        is_broken: AtomicBool::new(false),
        is_silent: AtomicBool::new(false),
    });
    let end = session.speak().await;
    if end == End::SlowHead {
        let answer = respond::over_http1(StatusCode::REQUEST_TIMEOUT);
        if connection.send(answer.as_bytes()).await.is_err() {
            return;
        }
    }
    if end == End::Gone || session.is_broken.load(Relaxed) {
        return;
    }
    guard.disarm();
    let is_idle = session.wire.phase().0 == Phase::Idle && !session.wire.is_http2();
    if !is_idle || connection.has_unread() {
        linger(connection).await;
    }
}

/// Does the client of a handler without a program speak HTTP? Then it can be told so.
pub async fn is_spoken(connection: &Connection) -> bool {
    const METHODS: [&[u8]; 10] = [
        b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"CONN", b"TRAC", b"PRI ",
    ];
    let mut words = [0; 4];
    let heard = timeout(FIRST_WORDS, connection.readable()).await;
    matches!(heard, Ok(Ok(()))) && matches!(connection.peek(&mut words), Ok(4)) && METHODS.contains(&&words[..])
}

/// Runs the requests of HTTP/2 connections, each for so long at most: a client that does not take its answer
/// loses that, and keeps the connection.
#[derive(Clone)]
struct Streams(Option<Duration>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, request: F) {
        match self.0 {
            // What is dropped is reset.
            Some(limit) => drop(tokio::spawn(async move { drop(timeout(limit, request).await) })),
            None => drop(tokio::spawn(request)),
        }
    }
}

/// Waits until the client can no longer be reached, or is taken to have left.
///
/// Clients of HTTP that leave in the middle of an answer close the connection, which looks as if they only had
/// no more to say: nginx, HAProxy and Go's server take it for the end of the request. Here, those that only
/// have no more to say (`nc -N`) get what is sent within a while.
async fn left(connection: &Connection) {
    let has_left = async {
        loop {
            // The end of the client's sending is announced so, and stays so; but not it alone.
            let _ = connection.wait(Interest::PRIORITY).await;
            let (moved, is_half_closed) = (connection.moved(), connection.is_half_closed());
            sleep(GRACE).await;
            // A client that takes it is there, and one whose guest has not read all may be.
            if is_half_closed && connection.moved() == moved && !connection.has_unread() {
                return;
            }
        }
    };
    tokio::select! {
        () = vanished(connection) => {}
        () = has_left => {}
    }
}

impl Session {
    async fn speak(self: &Arc<Self>) -> End {
        let settings = self.handler.config.http;
        let limits = &self.handler.config.limits;
        let mut builder = Builder::new(Streams(limits.timeout.map(|time| time + GRACE)));
        builder
            .http1()
            // Who says no more may still listen; who left is found out by `vanished`.
            .half_close(true)
            // How long a head may take is watched below, and idle connections apart from it.
            .header_read_timeout(None)
            .keep_alive(settings.keep_alive != Some(Duration::ZERO))
            .max_headers((settings.max_head / LINE).min(MOST_LINES) as usize)
            .max_buf_size(settings.max_head as usize);
        // A source that has no more places needs no more streams.
        let most = self.handler.request_sources.most_of(self.peer.address());
        let streams = most.map_or(STREAMS, |most| most.min(STREAMS));
        builder
            .http2()
            .max_concurrent_streams(streams)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(STREAM_WINDOW * streams)
            .max_send_buf_size(SEND_BUFFER)
            .max_header_list_size(settings.max_head)
            .timer(TokioTimer::new());
        let io = TokioIo::new(Wire::new(self.connection.clone(), self.wire.clone()));
        let service = service_fn(|request| request::answer(self.clone(), request));
        let mut speaking = pin!(builder.serve_connection(io, service));
        let mut gone = pin!(left(&self.connection));
        let mut host_leaves = pin!(self.host.activity.closing());
        let mut crowded = pin!(self.crowds());
        let mut silence = Silence::new(self.handler.config.limits.silence());
        let mut closing_since: Option<Instant> = None;
        let mut shut_down = false;
        let mut timer = pin!(sleep_until(Instant::now()));
        poll_fn(|context| {
            self.wire.watch(context);
            loop {
                if speaking.as_mut().poll(context).is_ready() {
                    return Poll::Ready(End::Said);
                }
                let (phase, since) = self.wire.phase();
                if closing_since.is_none() {
                    // Only wakes; whether there is a crowd is asked below.
                    let _ = crowded.as_mut().poll(context);
                    let gives_way = phase == Phase::Idle && self.is_crowded();
                    if gives_way || host_leaves.as_mut().poll(context).is_ready() {
                        closing_since = Some(Instant::now());
                    }
                }
                // A request that is on its way in is still answered; HTTP/2 sees to that itself.
                let is_on_its_way = || match phase {
                    Phase::Head => true,
                    Phase::Idle => self.connection.has_unread(),
                    Phase::Busy => false,
                };
                let may_shut_down = || self.wire.is_http2() || !is_on_its_way();
                if closing_since.is_some() && !shut_down && may_shut_down() {
                    shut_down = true;
                    speaking.as_mut().graceful_shutdown();
                    continue;
                }
                // hyper waits for the guest, and does not see that the client leaves.
                if phase == Phase::Busy && gone.as_mut().poll(context).is_ready() {
                    return Poll::Ready(End::Gone);
                }
                let patience = match phase {
                    // Each request has its own (see `Streams`).
                    Phase::Busy if self.wire.is_http2() => None,
                    // The guest's time, and some for the client to take what it made.
                    Phase::Busy => self.handler.config.limits.timeout.map(|time| time + GRACE),
                    Phase::Head => settings.head_timeout,
                    Phase::Idle => settings.keep_alive,
                };
                let deadline = match closing_since {
                    Some(closing) if phase != Phase::Busy => Some(closing + GRACE),
                    _ => patience.and_then(|patience| since.checked_add(patience)),
                };
                let silent = match phase {
                    Phase::Busy => silence.deadline(&self.connection, &self.wire),
                    Phase::Head | Phase::Idle => None,
                };
                let deadline = silent.into_iter().chain(deadline).min();
                let Some(deadline) = deadline else {
                    return Poll::Pending;
                };
                if deadline <= Instant::now() {
                    match phase {
                        // An answer to no question would be taken for that to the next.
                        Phase::Head if !self.wire.is_http2() => {
                            return Poll::Ready(match self.wire.has_begun() {
                                true => End::SlowHead,
                                false => End::Said,
                            });
                        }
                        Phase::Busy => {
                            self.is_silent.store(silent == Some(deadline), Relaxed);
                            return Poll::Ready(End::Gone);
                        }
                        _ => {}
                    }
                    if shut_down {
                        return Poll::Ready(End::Said);
                    }
                    closing_since = Some(Instant::now());
                    continue;
                }
                // One that goes off too early only makes us look again.
                if timer.is_elapsed() || timer.deadline() > deadline {
                    timer.as_mut().reset(deadline);
                }
                if timer.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
            }
        })
        .await
    }

    /// Wakes whoever polls it each time that a client has to wait for a place.
    async fn crowds(&self) {
        let (handler, host) = (&self.handler.places, &self.host.places);
        loop {
            tokio::select! {
                () = handler.crowded() => {}
                () = host.crowded() => {}
            }
        }
    }

    fn is_crowded(&self) -> bool {
        self.handler.places.is_crowded() || self.host.places.is_crowded()
    }

    /// The answer is broken off: over HTTP/1 only a reset tells (HTTP/2 resets the request alone).
    pub fn break_off(&self) {
        if !self.wire.is_http2() {
            self.is_broken.store(true, Relaxed);
        }
    }
}
