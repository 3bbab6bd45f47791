//! A request's body on its way from the client.

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

/// A request's body as it arrives. The guest reads it, and what it leaves is drained: so it belongs to the exchange.
#[derive(Default)]
pub struct RequestBody {
    pub incoming: Option<Incoming>,
    /// What arrived before the guest read it.
    pub first: Option<Result<Frame<Bytes>, hyper::Error>>,
    /// hyper was asked for it, and has told the client to send it (`Expect: 100-continue`).
    pub is_asked_for: bool,
    /// The guest reads no more of it.
    pub is_dropped: bool,
    /// The answer's head goes, and has told the client whether the connection goes on.
    pub is_settled: bool,
}

impl RequestBody {
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.is_asked_for = true;
        match (self.first.take(), &mut self.incoming) {
            (Some(first), _) => Poll::Ready(Some(first)),
            (None, Some(incoming)) => Pin::new(incoming).poll_frame(context),
            (None, None) => Poll::Ready(None),
        }
    }

    /// Lets the client know that it is wanted (`Expect: 100-continue`), unless that is known.
    pub fn ask_for(&mut self) {
        if !self.is_asked_for && !self.is_dropped {
            // The guest that reads it is woken when there is more.
            let mut context = Context::from_waker(Waker::noop());
            if let Poll::Ready(first) = self.poll_frame(&mut context) {
                self.first = first;
            }
        }
    }
}
