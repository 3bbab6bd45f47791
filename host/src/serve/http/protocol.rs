//! hyper's settings for a connection: what it is left to do, and what is bounded here.

use super::deadlines::SEND_GRACE;
use super::session::Session;
use hyper::rt::Executor;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto::Builder;
use std::time::Duration;
use tokio::time::timeout;

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

/// What of an answer waits for the client of an HTTP/2 request, in bytes.
const SEND_BUFFER: usize = 32 * 1024;

/// The settings for the connection of `session`.
pub fn builder(session: &Session) -> Builder<RequestTasks> {
    let config = &session.handler.config;
    let mut builder = Builder::new(RequestTasks(config.limits.timeout.map(|limit| limit + SEND_GRACE)));
    builder
        .http1()
        // After a half-close the client may still read; whether it has left is found out in `client::left`.
        .half_close(true)
        // How long a head may take is watched by the driver, and idle connections apart from it.
        .header_read_timeout(None)
        .keep_alive(config.http.keep_alive != Some(Duration::ZERO))
        .max_headers((config.http.max_head / LINE).min(MOST_LINES) as usize)
        .max_buf_size(config.http.max_head as usize);
    // A source that may have no more requests needs no more streams.
    let most = session.handler.request_sources.most_of(session.peer.address());
    let streams = most.map_or(STREAMS, |most| most.min(STREAMS));
    builder
        .http2()
        .max_concurrent_streams(streams)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW * streams)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(config.http.max_head)
        .timer(TokioTimer::new());
    builder
}

/// Runs each request of an HTTP/2 connection in a task of its own, for so long at most: a client that does not take
/// its answer loses that one, and keeps the connection.
#[derive(Clone)]
pub struct RequestTasks(Option<Duration>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for RequestTasks {
    fn execute(&self, request: F) {
        match self.0 {
            // What is dropped is reset.
            Some(limit) => drop(tokio::spawn(async move { drop(timeout(limit, request).await) })),
            None => drop(tokio::spawn(request)),
        }
    }
}
