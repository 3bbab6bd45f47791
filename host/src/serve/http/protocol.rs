//! hyper's settings for a connection: limits of HTTP/1 heads, and of HTTP/2 streams, windows and buffers.

use super::deadlines::SEND_GRACE;
use super::session::Session;
use hyper::rt::Executor;
use hyper_util::rt::TokioTimer;
use hyper_util::server::conn::auto::Builder;
use std::time::Duration;
use tokio::time::timeout;

/// The most concurrent streams (requests) of an HTTP/2 connection.
const MAX_STREAMS: u32 = 100;

/// The flow-control window of an HTTP/2 stream, in bytes: how much of a request's body is received before its guest
/// reads it. The window of a connection is as much for each stream, so that no stream waits for the guest of another.
const STREAM_WINDOW: u32 = 128 * 1024;

/// Over HTTP/1 a head may have one header field for so many bytes of `max-head`: hyper allocates the table of fields
/// for each request. (Over HTTP/2 a field counts 32 bytes beside its name and value: RFC 9113, 6.5.2.)
const BYTES_PER_FIELD: u32 = 64;

/// The most header fields of a head: fewer than `http::HeaderMap` can hold.
const MAX_FIELDS: u32 = 16 * 1024;

/// The most bytes of an answer that are buffered for the client of an HTTP/2 stream.
const SEND_BUFFER: usize = 32 * 1024;

/// The settings for the connection of `session`.
pub fn builder(session: &Session) -> Builder<RequestTasks> {
    let config = &session.handler.config;
    let mut builder = Builder::new(RequestTasks(config.limits.timeout.map(|limit| limit + SEND_GRACE)));
    builder
        .http1()
        // After a half-close the client may still read; `client::left` finds out whether it has left.
        .half_close(true)
        // The driver has separate timeouts for heads and for idle connections.
        .header_read_timeout(None)
        .keep_alive(config.http.keep_alive != Some(Duration::ZERO))
        .max_headers((config.http.max_head / BYTES_PER_FIELD).min(MAX_FIELDS) as usize)
        .max_buf_size(config.http.max_head as usize);
    // A source needs no more streams than it may have requests.
    let most = session.handler.request_sources.most_of(session.peer.address());
    let streams = most.map_or(MAX_STREAMS, |most| most.min(MAX_STREAMS));
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

/// Runs each request of an HTTP/2 connection in a task of its own, with a timeout: when a client does not receive an
/// answer, that stream is reset, and the connection stays open.
#[derive(Clone)]
pub struct RequestTasks(Option<Duration>);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for RequestTasks {
    fn execute(&self, request: F) {
        match self.0 {
            // hyper resets the stream of a request that is dropped.
            Some(limit) => drop(tokio::spawn(async move { drop(timeout(limit, request).await) })),
            None => drop(tokio::spawn(request)),
        }
    }
}
