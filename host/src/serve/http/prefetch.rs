//! The beginning of an answer's body, taken before the head is sent: a short answer then goes out in one write, and one
//! that is here as a whole can be held to the length that its head promises.

use crate::runtime::{BodyError, GuestBody};
use bytes::Bytes;
use futures::FutureExt;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// How often the task yields to a guest, or to a client, that may be about to hand over more. Two are enough for a guest
/// that writes its body in one piece and ends: 76,000 requests a second instead of 58,000.
pub const YIELDS: usize = 2;

/// A body of which the beginning may be here, or all.
#[derive(Default)]
pub struct Prefetched {
    first: Option<Frame<Bytes>>,
    /// There is none when no more comes.
    second: Option<Result<Frame<Bytes>, BodyError>>,
    /// `None`: no more comes.
    rest: Option<GuestBody>,
}

/// Gives a guest that has just decided on the head the time to begin with the body, and to end it if it is short. A body
/// that ends because its guest `is_broken` is not complete.
pub async fn prefetch(mut body: GuestBody, is_broken: impl Fn() -> bool) -> Prefetched {
    let mut prefetched = Prefetched::default();
    let mut yields = 0..YIELDS;
    loop {
        match body.frame().now_or_never() {
            Some(Some(Ok(frame))) if prefetched.first.is_none() => prefetched.first = Some(frame),
            Some(None) if !is_broken() => return prefetched,
            // The end comes again when it is asked for, unlike an error.
            Some(second) => {
                prefetched.second = second;
                break;
            }
            None if yields.next().is_none() => break,
            None => tokio::task::yield_now().await,
        }
    }
    prefetched.rest = Some(body);
    prefetched
}

impl Prefetched {
    pub fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(frame) = self.first.take() {
            return Poll::Ready(Some(Ok(frame)));
        }
        if let Some(frame) = self.second.take() {
            return Poll::Ready(Some(frame));
        }
        match &mut self.rest {
            Some(rest) => Pin::new(rest).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    /// Was the end of the body prefetched, too?
    pub fn is_complete(&self) -> bool {
        self.rest.is_none()
    }

    /// Is it known that no more comes?
    pub fn is_exhausted(&self) -> bool {
        self.is_complete() && self.first.is_none()
    }

    /// How many bytes come, if that is known, and nothing but bytes.
    pub fn length(&self) -> Option<u64> {
        let rest = match &self.rest {
            Some(rest) => rest.size_hint().exact()?,
            None => 0,
        };
        let second = self.second.as_ref().and_then(|frame| frame.as_ref().ok());
        let mut here = self.first.iter().chain(second);
        here.try_fold(rest, |length, frame| Some(length + frame.data_ref()?.len() as u64))
    }
}
