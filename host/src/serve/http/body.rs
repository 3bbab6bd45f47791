//! Bodies, counted and bounded on their way.

use super::exchange::Exchange;
use super::wire::Busy;
use crate::guest::{Attended, Fate};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use tokio::task::AbortHandle;
use wasmtime_wasi_http::{Error, WasiBody};

/// A request's body, which may have so many bytes and no more.
pub struct Upload {
    body: Incoming,
    left: u64,
    exchange: Arc<Exchange>,
}

impl Upload {
    pub fn new(body: Incoming, exchange: Arc<Exchange>) -> Self {
        exchange.is_received.store(body.is_end_stream(), Relaxed);
        Self {
            left: exchange.session.handler.config.http.max_body,
            body,
            exchange,
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let frame = match ready!(Pin::new(&mut self.body).poll_frame(context)) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
            None => {
                self.exchange.is_received.store(true, Relaxed);
                return Poll::Ready(None);
            }
        };
        let size = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.exchange.received.fetch_add(size, Relaxed);
        let Some(left) = self.left.checked_sub(size) else {
            self.exchange.is_too_large.store(true, Relaxed);
            let most = self.exchange.session.handler.config.http.max_body;
            return Poll::Ready(Some(Err(Error::HttpRequestBodySize(Some(most)))));
        };
        self.left = left;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer's body.
pub struct Download {
    source: Source,
    exchange: Arc<Exchange>,
    was_polled: bool,
    _busy: Busy,
}

/// Where an answer's body comes from.
pub enum Source {
    /// The host itself.
    Text(Option<Bytes>),
    /// A guest of its own, which goes on in a task if it has not ended.
    Guest {
        body: WasiBody,
        fate: Arc<Fate>,
        task: Option<AbortHandle>,
    },
    /// A guest that answers others, too.
    Shared { body: WasiBody, attended: Attended },
}

impl Download {
    pub fn new(source: Source, exchange: Arc<Exchange>, busy: Busy) -> Self {
        Self {
            source,
            exchange,
            was_polled: false,
            _busy: busy,
        }
    }

    fn end(&self) -> Option<Result<Frame<Bytes>, io::Error>> {
        let is_broken = match &self.source {
            Source::Text(_) => false,
            Source::Guest { fate, .. } => fate.is_broken(),
            Source::Shared { attended, .. } => attended.is_broken(),
        };
        if is_broken {
            return Some(Err(self.break_off()));
        }
        self.exchange.is_answered.store(true, Relaxed);
        None
    }

    /// What was sent is not all: the client must be able to tell.
    fn break_off(&self) -> io::Error {
        self.exchange.session.break_off();
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
        self.was_polled = true;
        let frame = match &mut self.source {
            Source::Text(text) => text.take().map(|text| Ok(Frame::data(text))),
            Source::Guest { body, .. } | Source::Shared { body, .. } => {
                ready!(Pin::new(body).poll_frame(context))
            }
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                let size = frame.data_ref().map_or(0, Bytes::len);
                self.exchange.sent.fetch_add(size as u64, Relaxed);
                Some(Ok(frame))
            }
            Some(Err(_)) => Some(Err(self.break_off())),
            None => self.end(),
        })
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Text(text) => text.is_none(),
            // Whether there is more, and whether it broke off, is seen by asking.
            _ => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Text(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            Source::Guest { body, .. } | Source::Shared { body, .. } => body.size_hint(),
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        if self.exchange.is_answered.load(Relaxed) {
            return;
        }
        let source = std::mem::replace(&mut self.source, Source::Text(None));
        if !self.was_polled {
            // There was no place for a body: HEAD, or 304. The guest need not know.
            self.exchange.is_answered.store(true, Relaxed);
            tokio::spawn(drain(source));
        } else if let Source::Guest { task: Some(task), .. } = source {
            // The client is gone, and its guest goes with it.
            task.abort();
        }
    }
}

/// Takes a body to its end, for nobody.
async fn drain(mut source: Source) {
    if let Source::Guest { body, .. } | Source::Shared { body, .. } = &mut source {
        while let Some(Ok(_)) = body.frame().await {}
    }
}
