//! The body of an answer, as hyper sends it: counts bytes, enforces `max-output`, and checks the body against its
//! `Content-Length`.

use super::exchange::Exchange;
use super::prefetch::Prefetched;
use super::state::{ActiveRequest, BodyInTransit};
use crate::limits::sent_more;
use crate::runtime::{AnsweringGuest, Cause};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;
use wasm_sock_stats::Outcome;

/// The most bytes of a body that are read and discarded where none is sent (HEAD, 304), and for how long. The guest
/// keeps its request permit until then.
const MAX_DISCARDED: usize = 1 << 20;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(1);

/// An answer's body. The request is being answered until hyper drops it.
pub struct Download {
    source: Source,
    exchange: Arc<Exchange>,
    /// Does the guest's head have a `Content-Length`? Else hyper adds one, if the length is known.
    is_promised: bool,
    /// The bytes that are still to be sent, if the length is known.
    remaining: Option<u64>,
    _in_transit: BodyInTransit,
    _active: ActiveRequest,
}

/// Where an answer's body comes from.
pub enum Source {
    /// The host itself.
    Text(Option<Bytes>),
    Guest {
        body: Prefetched,
        guest: AnsweringGuest,
    },
}

impl Source {
    /// Lets a guest that has answered run on until it ends by itself; without this, dropping it ends it.
    fn let_go(&mut self) {
        if let Self::Guest { guest, .. } = self {
            guest.let_go();
        }
    }

    /// Is it known, without polling, that the body has ended?
    fn is_exhausted(&self) -> bool {
        match self {
            Self::Text(text) => text.is_none(),
            Self::Guest { body, .. } => body.is_exhausted(),
        }
    }

    /// The length in bytes, if the whole body was prefetched.
    pub fn complete_length(&self) -> Option<u64> {
        match self {
            Self::Guest { body, .. } if body.is_complete() => body.length(),
            _ => None,
        }
    }

    /// How many bytes are left, if that is known.
    fn length(&self) -> Option<u64> {
        match self {
            // Without a body there is no length either.
            Self::Text(text) => text.as_ref().map(|text| text.len() as u64),
            Self::Guest { body, .. } => body.length(),
        }
    }
}

impl Download {
    /// `promised` is the `Content-Length` in the head.
    pub fn new(source: Source, promised: Option<u64>, exchange: Arc<Exchange>, active: ActiveRequest) -> Self {
        let remaining = promised.or(source.length());
        // hyper does not poll an empty body.
        if remaining.map_or(source.is_exhausted(), |remaining| remaining == 0) {
            exchange.is_answered.store(true, Relaxed);
        }
        Self {
            source,
            is_promised: promised.is_some(),
            remaining,
            _in_transit: exchange.session.state.start_body(),
            exchange,
            _active: active,
        }
    }

    /// For an answer that has no body (HEAD, 204, 304). What the guest sends all the same is discarded, so that it may
    /// finish, within [`MAX_DISCARDED`] and [`DISCARD_TIMEOUT`].
    pub fn without_body(source: Source, exchange: Arc<Exchange>, active: ActiveRequest) -> Self {
        tokio::spawn(discard(source, exchange.clone()));
        Self::new(Source::Text(None), None, exchange, active)
    }

    /// Counts one more frame. hyper does not poll again after the last byte of a known length.
    ///
    /// # Errors
    /// When the answer exceeds `max-output`.
    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), io::Error> {
        let size = frame.data_ref().map_or(0, Bytes::len) as u64;
        let sent = self.exchange.sent.load(Relaxed).saturating_add(size);
        if let Some(most) = self.exchange.session.handler.config.limits.max_output
            && sent > most
        {
            self.exchange.report_ended(Cause::new(Outcome::Output, sent_more(most)));
            return Err(self.break_off());
        }
        self.exchange.sent.store(sent, Relaxed);
        self.remaining = self.remaining.map(|remaining| remaining.saturating_sub(size));
        if frame.is_trailers() || self.remaining == Some(0) {
            self.exchange.is_answered.store(true, Relaxed);
        }
        Ok(())
    }

    /// The source has ended: an error if the answer is not complete.
    fn finish(&mut self) -> Option<Result<Frame<Bytes>, io::Error>> {
        let is_broken = match &self.source {
            Source::Text(_) => false,
            Source::Guest { body, guest } => !body.is_complete() && guest.is_broken(),
        };
        if is_broken {
            return Some(Err(self.break_off()));
        }
        if let Some(missing @ 1..) = self.remaining {
            let why = format!("its answer has {missing} bytes less than its content-length promises");
            self.exchange.report_ended(Cause::trap(why));
            return Some(Err(self.break_off()));
        }
        self.exchange.is_answered.store(true, Relaxed);
        None
    }

    /// Aborts an incomplete answer in a way that the client can see: the error makes hyper end it abnormally.
    fn break_off(&mut self) -> io::Error {
        self.exchange.session.break_off();
        if let Source::Guest { guest, .. } = &mut self.source
            && let Some(cause) = guest.why_broken()
        {
            self.exchange.report_ended(cause);
        }
        io::Error::other("the guest was ended before its answer")
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let frame = match &mut self.source {
            Source::Text(text) => text.take().map(|text| Ok(Frame::data(text))),
            Source::Guest { body, .. } => ready!(body.poll_frame(context)),
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(self.count(&frame).map(|()| frame)),
            Some(Err(_)) => Some(Err(self.break_off())),
            None => self.finish(),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_exhausted() && self.remaining.is_none_or(|remaining| remaining == 0)
    }

    fn size_hint(&self) -> SizeHint {
        match self.source.length() {
            // hyper enforces the head's Content-Length only if the body gives no exact size.
            Some(length) if !self.is_promised => SizeHint::with_exact(length),
            _ => SizeHint::new(),
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // Else the client has left: the guest is dropped, which ends it.
        if self.exchange.is_answered.load(Relaxed) {
            self.source.let_go();
        }
    }
}

/// Reads a body to its end and discards it, then lets its guest run on. A guest whose body does not end within the
/// limits is ended.
async fn discard(mut source: Source, exchange: Arc<Exchange>) {
    if let Source::Guest { body, .. } = &mut source {
        let read_all = async {
            let mut discarded = 0;
            while let Some(Ok(frame)) = poll_fn(|context| body.poll_frame(context)).await {
                discarded += frame.data_ref().map_or(0, Bytes::len);
                if discarded > MAX_DISCARDED {
                    return false;
                }
                // A guest whose body never blocks would keep other tasks from running.
                consume_budget().await;
            }
            true
        };
        if timeout(DISCARD_TIMEOUT, read_all).await == Ok(true) {
            source.let_go();
        }
    }
    drop((source, exchange));
}
