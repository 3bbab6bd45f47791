//! The body of a request, as it arrives: state that the guest's reader and the code that drains it share.

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A request's body as it arrives. The guest reads it, and what the guest leaves unread is drained: so it belongs to
/// the exchange.
#[derive(Default)]
pub struct RequestBody {
    pub incoming: Option<Incoming>,
    /// A frame that was received before the guest asked for it.
    pub first: Option<Result<Frame<Bytes>, hyper::Error>>,
    /// It was polled, so hyper has told the client to send it (`Expect: 100-continue`).
    pub is_asked_for: bool,
    /// The guest will not read more of it.
    pub is_dropped: bool,
    /// The answer's head is sent, and tells the client whether the connection is kept open.
    pub is_settled: bool,
}

impl RequestBody {
    /// The next frame, as of [`Body::poll_frame`].
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_asked_for = true;
        match (self.first.take(), &mut self.incoming) {
            (Some(first), _) => Poll::Ready(Some(first)),
            (None, Some(incoming)) => Pin::new(incoming).poll_frame(context),
            (None, None) => Poll::Ready(None),
        }
    }

    /// Makes hyper ask the client for it (`Expect: 100-continue`), unless that was done.
    pub fn ask_for(&mut self) {
        if !self.is_asked_for && !self.is_dropped {
            // No waker is needed: a guest that reads the body polls it again with its own.
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(first) = self.poll_frame(&mut context) {
                self.first = first;
            }
        }
    }
}
