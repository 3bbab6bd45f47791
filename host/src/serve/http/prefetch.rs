//! The beginning of an answer's body, taken before the head goes.

use crate::guest::{BodyError, GuestBody};
use bytes::Bytes;
use futures::FutureExt;
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body of which the beginning may be here, or all.
#[derive(Default)]
pub struct Begun {
    first: Option<Frame<Bytes>>,
    /// There is none when no more comes.
    second: Option<Result<Frame<Bytes>, BodyError>>,
    /// `None`: no more comes.
    rest: Option<GuestBody>,
}

/// How often it is looked whether a guest has gone on.
pub const TURNS: usize = 2;

/// Gives a guest that has just decided on the head the time to begin with the body, and to end it if it is
/// short, so that all goes out together. A body that ends because its guest `is_broken` is not whole.
pub async fn begun(mut body: GuestBody, is_broken: impl Fn() -> bool) -> Begun {
    let mut begun = Begun::default();
    let mut turns = 0..TURNS;
    loop {
        match body.frame().now_or_never() {
            Some(Some(Ok(frame))) if begun.first.is_none() => begun.first = Some(frame),
            Some(None) if !is_broken() => return begun,
            // The end comes again when it is asked for, unlike an error.
            Some(second) => {
                begun.second = second;
                break;
            }
            None if turns.next().is_none() => break,
            None => tokio::task::yield_now().await,
        }
    }
    begun.rest = Some(body);
    begun
}

impl Begun {
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

    /// Is it known that no more comes?
    pub fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    pub fn is_over(&self) -> bool {
        self.is_whole() && self.first.is_none()
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
