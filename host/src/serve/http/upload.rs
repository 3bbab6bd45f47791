//! The body of a request, as its guest reads it: counts bytes, enforces `max-body`, and drains what the guest leaves
//! unread (HTTP/1 keep-alive, `Expect: 100-continue`).

use super::exchange::Exchange;
use super::prefetch::MAX_YIELDS;
use super::state::BodyInTransit;
use crate::runtime::BodyError;
use crate::sync::lock;
use bytes::Bytes;
use futures::FutureExt;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

/// The most bytes of an unread body that are drained so that the connection can be used again.
const MAX_DRAINED: usize = 64 * 1024;

/// A request's body as its guest reads it: at most `max-body` bytes.
pub struct Upload {
    remaining: u64,
    exchange: Arc<Exchange>,
    /// Set until the end of the body.
    in_transit: Option<BodyInTransit>,
}

impl Upload {
    /// `body` goes to the exchange; this reads it there.
    pub fn new(body: Incoming, exchange: Arc<Exchange>) -> Self {
        let in_transit = (!body.is_end_stream()).then(|| exchange.session.state.start_body());
        lock(&exchange.body).incoming = Some(body);
        Self {
            remaining: exchange.session.handler.config.http.max_body,
            in_transit,
            exchange,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let frame = lock(&self.exchange.body).poll_frame(context);
        let frame = match ready!(frame) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => {
                self.exchange.is_cut.store(true, Relaxed);
                return Poll::Ready(Some(Err(error.into())));
            }
            None => {
                self.exchange.is_received.store(true, Relaxed);
                self.in_transit = None;
                return Poll::Ready(None);
            }
        };
        let size = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.exchange.received.fetch_add(size, Relaxed);
        let Some(remaining) = self.remaining.checked_sub(size) else {
            self.exchange.is_too_large.store(true, Relaxed);
            let most = self.exchange.session.handler.config.http.max_body;
            return Poll::Ready(Some(Err(BodyError::HttpRequestBodySize(Some(most)))));
        };
        self.remaining = remaining;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let body = lock(&self.exchange.body);
        body.first.is_none() && body.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let body = lock(&self.exchange.body);
        match (&body.first, &body.incoming) {
            (None, Some(incoming)) => incoming.size_hint(),
            _ => SizeHint::new(),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut body = lock(&self.exchange.body);
        body.is_dropped = true;
        // Over HTTP/1 it is kept until the answer is sent: `drain_unread` decides whether to drain it. Over HTTP/2
        // dropping it affects only its stream.
        if body.is_settled || self.exchange.session.state.is_http2() {
            body.incoming = None;
        }
    }
}

/// Called before the answer to an HTTP/1 request is sent. Returns whether the request's body will be read to its end,
/// so that another request can follow; else the answer needs `Connection: close`.
///
/// What a guest has left unread is drained here, as far as it has arrived. A guest that `goes_on` after its answer may
/// still read: then a client that waits for permission to send (`expects_continue`) gets it (`Expect: 100-continue`;
/// RFC 9110, 10.1.1).
pub async fn drain_unread(exchange: &Exchange, goes_on: bool, expects_continue: bool) -> bool {
    if exchange.is_received.load(Relaxed) {
        return true;
    }
    // A guest that has ended drops the body when it is polled next.
    tokio::task::yield_now().await;
    let (unread, is_held_back) = settle(exchange, goes_on, expects_continue);
    match unread {
        // The client has not sent it, and will not.
        Some(_) if is_held_back => false,
        Some(unread) => drain(unread).await,
        None => {
            if is_held_back && goes_on {
                // hyper sends `100 Continue` when it is polled.
                tokio::task::yield_now().await;
            }
            goes_on
        }
    }
}

/// Takes the rest of the body, if the guest has dropped it. Also returns whether the client has held the body back
/// until now (`Expect: 100-continue`), and asks for it if the guest may still read it.
fn settle(exchange: &Exchange, goes_on: bool, expects_continue: bool) -> (Option<Incoming>, bool) {
    let mut body = lock(&exchange.body);
    let is_held_back = expects_continue && !body.is_asked_for;
    if is_held_back && goes_on {
        body.ask_for();
    }
    body.is_settled = true;
    let is_dropped = body.is_dropped;
    (body.incoming.take_if(|_| is_dropped), is_held_back)
}

/// Reads and discards what has arrived of a body, up to [`MAX_DRAINED`]. Returns whether its end was reached.
async fn drain(mut body: Incoming) -> bool {
    let (mut drained, mut yields) = (0, 0..MAX_YIELDS);
    while drained <= MAX_DRAINED {
        match body.frame().now_or_never() {
            Some(None) => return true,
            Some(Some(Ok(frame))) => drained += frame.data_ref().map_or(0, Bytes::len),
            Some(Some(Err(_))) => return false,
            None if yields.next().is_none() => return false,
            None => tokio::task::yield_now().await,
        }
    }
    false
}
