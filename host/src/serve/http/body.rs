//! Bodies, counted and bounded on their way.

use super::exchange::Exchange;
use super::wire::{Busy, UnderWay};
use crate::guest::{AnsweringGuest, BodyError, End, GuestBody};
use crate::journal::Level;
use crate::sync::lock;
use bytes::Bytes;
use futures::FutureExt;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;
use tokio::task::coop::consume_budget;
use tokio::time::timeout;

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
const TURNS: usize = 2;

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
    fn poll_frame(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
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
    fn is_whole(&self) -> bool {
        self.rest.is_none()
    }

    fn is_over(&self) -> bool {
        self.is_whole() && self.first.is_none()
    }

    /// How many bytes come, if that is known, and nothing but bytes.
    fn length(&self) -> Option<u64> {
        let rest = match &self.rest {
            Some(rest) => rest.size_hint().exact()?,
            None => 0,
        };
        let second = self.second.as_ref().and_then(|frame| frame.as_ref().ok());
        let mut here = self.first.iter().chain(second);
        here.try_fold(rest, |length, frame| Some(length + frame.data_ref()?.len() as u64))
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
