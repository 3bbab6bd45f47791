//! A request's body on its way to the guest: counted, bounded, and drained where the guest does not read it.

use super::exchange::Exchange;
use super::prefetch::YIELDS;
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

/// The most of a body that a guest did not read which is drained, in bytes, so that the connection can be used again.
const MAX_DRAINED: usize = 64 * 1024;

/// A request's body as its guest reads it: at most `max-body` bytes.
pub struct Upload {
    remaining: u64,
    exchange: Arc<Exchange>,
    /// Until it has come to its end.
    in_transit: Option<BodyInTransit>,
}

impl Upload {
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
        // Over HTTP/1 it is kept until the answer goes: `drain_unread` decides what becomes of it. Over HTTP/2 hyper
        // resets its stream alone.
        if body.is_settled || self.exchange.session.state.is_http2() {
            body.incoming = None;
        }
    }
}

/// The answer to an HTTP/1 request is about to go. Returns whether its body will be read to its end, so that another
/// request can follow; else the answer has to say that the connection closes.
///
/// What a guest has left of the body is drained here, as far as it has arrived. What a guest that `goes_on` may still
/// read has to be sent: a client that waits for permission (`expects_continue`) gets it (`Expect: 100-continue`;
/// RFC 9110, 10.1.1).
pub async fn drain_unread(exchange: &Exchange, goes_on: bool, expects_continue: bool) -> bool {
    if exchange.is_received.load(Relaxed) {
        return true;
    }
    // A guest that is done is about to drop it.
    tokio::task::yield_now().await;
    let (unread, is_held_back) = settle(exchange, goes_on, expects_continue);
    match unread {
        // The client will send nothing of it.
        Some(_) if is_held_back => false,
        Some(unread) => drain(unread).await,
        None => {
            if is_held_back && goes_on {
                // hyper tells the client as soon as it looks at the connection.
                tokio::task::yield_now().await;
            }
            goes_on
        }
    }
}

/// Takes what the guest has left of the body, if it is done with it. Also tells whether the client has held the body
/// back until now, and lets it come if the guest may still read it.
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

/// Reads a body to its end, if it has arrived and is not too much. Returns whether it was.
async fn drain(mut body: Incoming) -> bool {
    let (mut drained, mut yields) = (0, 0..YIELDS);
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
