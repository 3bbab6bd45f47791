//! A request's body on its way to the guest, counted and bounded.

use super::exchange::Exchange;
use super::prefetch::TURNS;
use super::wire::UnderWay;
use crate::guest::BodyError;
use crate::sync::lock;
use bytes::Bytes;
use futures::FutureExt;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker, ready};

/// What comes of a request's body.
#[derive(Default)]
pub struct Coming {
    body: Option<Incoming>,
    /// What came before the guest read it.
    first: Option<Result<Frame<Bytes>, hyper::Error>>,
    is_asked_for: bool,
    /// The guest reads no more of it.
    is_left: bool,
    /// The answer goes, and with it what becomes of the rest.
    is_decided: bool,
}

impl Coming {
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_asked_for = true;
        match (self.first.take(), &mut self.body) {
            (Some(first), _) => Poll::Ready(Some(first)),
            (None, Some(body)) => Pin::new(body).poll_frame(context),
            (None, None) => Poll::Ready(None),
        }
    }

    /// Lets the client know that it is wanted (`Expect: 100-continue`), unless that is known.
    fn ask_for(&mut self) {
        if !self.is_asked_for && !self.is_left {
            // Who reads it will be told again when there is more.
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(first) = self.poll_frame(&mut context) {
                self.first = first;
            }
        }
    }
}

/// A request's body, which may have so many bytes and no more.
pub struct Upload {
    left: u64,
    exchange: Arc<Exchange>,
    /// Until it has come to its end.
    under_way: Option<UnderWay>,
}

impl Upload {
    pub fn new(body: Incoming, exchange: Arc<Exchange>) -> Self {
        let under_way = (!body.is_end_stream()).then(|| exchange.session.wire.begin_body());
        lock(&exchange.body).body = Some(body);
        Self {
            left: exchange.session.handler.config.http.max_body,
            under_way,
            exchange,
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let mut coming = lock(&self.exchange.body);
        coming.is_left = true;
        // What becomes of it over HTTP/1, the answer decides.
        if coming.is_decided || self.exchange.session.wire.is_http2() {
            coming.body = None;
        }
    }
}

/// How much of a body that a guest left is taken, in bytes, so that the connection can be used again.
const MOST_LEFT: usize = 64 * 1024;

/// The answer to an HTTP/1 request is about to go: will its body be taken to its end? What a guest has left is
/// taken here, if it has come. What a guest that `goes_on` may still read has to come: a client that `asks_first`
/// whether it may send it is told so (`Expect: 100-continue`; RFC 9110, 10.1.1).
pub async fn is_taken_to_its_end(exchange: &Exchange, goes_on: bool, asks_first: bool) -> bool {
    if exchange.is_received.load(Relaxed) {
        return true;
    }
    // A guest that is done is about to drop it.
    tokio::task::yield_now().await;
    let (left_over, waits) = {
        let mut coming = lock(&exchange.body);
        let waits = asks_first && !coming.is_asked_for;
        if waits && goes_on {
            coming.ask_for();
        }
        coming.is_decided = true;
        let is_left = coming.is_left;
        (coming.body.take_if(|_| is_left), waits)
    };
    let Some(mut body) = left_over else {
        if waits && goes_on {
            // hyper tells it as soon as it looks at the connection.
            tokio::task::yield_now().await;
        }
        return goes_on;
    };
    let (mut taken, mut turns) = (0, 0..TURNS);
    while !waits && taken <= MOST_LEFT {
        match body.frame().now_or_never() {
            Some(None) => return true,
            Some(Some(Ok(frame))) => taken += frame.data_ref().map_or(0, Bytes::len),
            Some(Some(Err(_))) => return false,
            None if turns.next().is_none() => return false,
            None => tokio::task::yield_now().await,
        }
    }
    false
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
                self.under_way = None;
                return Poll::Ready(None);
            }
        };
        let size = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.exchange.received.fetch_add(size, Relaxed);
        let Some(left) = self.left.checked_sub(size) else {
            self.exchange.is_too_large.store(true, Relaxed);
            let most = self.exchange.session.handler.config.http.max_body;
            return Poll::Ready(Some(Err(BodyError::HttpRequestBodySize(Some(most)))));
        };
        self.left = left;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let coming = lock(&self.exchange.body);
        coming.first.is_none() && coming.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        let coming = lock(&self.exchange.body);
        match (&coming.first, &coming.body) {
            (None, Some(body)) => body.size_hint(),
            _ => SizeHint::new(),
        }
    }
}
