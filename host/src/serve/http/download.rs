//! An answer's body on its way to the client, counted and bounded.

use super::exchange::Exchange;
use super::prefetch::Begun;
use super::wire::{Busy, UnderWay};
use crate::guest::{AnsweringGuest, End};
use crate::journal::Level;
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

/// An answer's body.
pub struct Download {
    source: Source,
    exchange: Arc<Exchange>,
    /// Does the head promise its length? Else hyper does, if that is known.
    is_promised: bool,
    /// What is left of the length that is promised.
    left: Option<u64>,
    _under_way: UnderWay,
    _busy: Busy,
}

/// Where an answer's body comes from.
pub enum Source {
    /// The host itself.
    Text(Option<Bytes>),
    Guest {
        body: Begun,
        guest: AnsweringGuest,
    },
}

impl Source {
    /// Lets a guest go on that has answered.
    fn let_go(&mut self) {
        if let Self::Guest { guest, .. } = self {
            guest.let_go();
        }
    }

    /// Is it known that no more comes? Else it is seen by asking, and whether it broke off.
    fn is_over(&self) -> bool {
        match self {
            Self::Text(text) => text.is_none(),
            Self::Guest { body, .. } => body.is_over(),
        }
    }

    /// How many bytes came, if nothing else comes.
    pub fn whole_length(&self) -> Option<u64> {
        match self {
            Self::Guest { body, .. } if body.is_whole() => body.length(),
            _ => None,
        }
    }

    /// How many bytes come, if that is known.
    fn length(&self) -> Option<u64> {
        match self {
            // What has no body has no length either.
            Self::Text(text) => text.as_ref().map(|text| text.len() as u64),
            Self::Guest { body, .. } => body.length(),
        }
    }
}

impl Download {
    /// `length` is what the head promises.
    pub fn new(source: Source, length: Option<u64>, exchange: Arc<Exchange>, busy: Busy) -> Self {
        let left = length.or(source.length());
        // Nobody asks for the end of an answer without a body.
        if left.map_or(source.is_over(), |left| left == 0) {
            exchange.is_answered.store(true, Relaxed);
        }
        Self {
            source,
            is_promised: length.is_some(),
            left,
            _under_way: exchange.session.wire.begin_body(),
            exchange,
            _busy: busy,
        }
    }

    /// For an answer that has no body: to HEAD, or 304. The guest need not know, and is left to finish what it
    /// would send, if that is not much.
    pub fn none(source: Source, exchange: Arc<Exchange>, busy: Busy) -> Self {
        tokio::spawn(drain(source, exchange.clone()));
        Self::new(Source::Text(None), None, exchange, busy)
    }

    /// One more frame goes. Nobody asks for another when it was the last.
    ///
    /// # Errors
    /// When it would be more than the guest may send.
    fn go(&mut self, frame: &Frame<Bytes>) -> Result<(), io::Error> {
        let size = frame.data_ref().map_or(0, Bytes::len) as u64;
        let sent = self.exchange.sent.load(Relaxed).saturating_add(size);
        if let Some(most) = self.exchange.session.handler.config.limits.max_output
            && sent > most
        {
            let (level, why) = End::overran(most).report();
            self.exchange.report(level, why);
            return Err(self.break_off());
        }
        self.exchange.sent.store(sent, Relaxed);
        self.left = self.left.map(|left| left.saturating_sub(size));
        if frame.is_trailers() || self.left == Some(0) {
            self.exchange.is_answered.store(true, Relaxed);
        }
        Ok(())
    }

    fn end(&mut self) -> Option<Result<Frame<Bytes>, io::Error>> {
        let is_broken = match &self.source {
            Source::Text(_) => false,
            Source::Guest { body, guest } => !body.is_whole() && guest.is_broken(),
        };
        if is_broken {
            return Some(Err(self.break_off()));
        }
        if let Some(left @ 1..) = self.left {
            let why = format!("ended: its answer has {left} bytes less than its content-length promises");
            self.exchange.report(Level::Error, why);
            return Some(Err(self.break_off()));
        }
        self.exchange.is_answered.store(true, Relaxed);
        None
    }

    /// What was sent is not all: the client must be able to tell.
    fn break_off(&mut self) -> io::Error {
        self.exchange.session.break_off();
        if let Source::Guest { guest, .. } = &mut self.source
            && let Some(why) = guest.why_broken()
        {
            self.exchange.report(Level::Error, format!("ended: {why}"));
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
            Some(Ok(frame)) => Some(self.go(&frame).map(|()| frame)),
            Some(Err(_)) => Some(Err(self.break_off())),
            None => self.end(),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.source.is_over() && self.left.is_none_or(|left| left == 0)
    }

    fn size_hint(&self) -> SizeHint {
        match self.source.length() {
            // hyper holds the body to what the head says only if it knows of nothing else.
            Some(length) if !self.is_promised => SizeHint::with_exact(length),
            _ => SizeHint::new(),
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        // Else the client is gone, and its guest goes with it.
        if self.exchange.is_answered.load(Relaxed) {
            self.source.let_go();
        }
    }
}

/// How much of a body is taken and not sent, in bytes, and for how long. Its guest has a place until then.
const MOST_DRAINED: usize = 1 << 20;
const DRAINED_FOR: Duration = Duration::from_secs(1);

/// Takes a body to its end without sending it, and lets its guest go on. One that has no end soon ends with its guest.
async fn drain(mut source: Source, exchange: Arc<Exchange>) {
    if let Source::Guest { body, .. } = &mut source {
        let take_all = async {
            let mut taken = 0;
            while let Some(Ok(frame)) = poll_fn(|context| body.poll_frame(context)).await {
                taken += frame.data_ref().map_or(0, Bytes::len);
                if taken > MOST_DRAINED {
                    return false;
                }
                // A guest that always has more to say would keep its turn.
                consume_budget().await;
            }
            true
        };
        if timeout(DRAINED_FOR, take_all).await == Ok(true) {
            source.let_go();
        }
    }
    drop((source, exchange));
}
