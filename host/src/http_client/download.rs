//! The body of an answer, as the guest reads it: time-out, size limit, and what is free again when it has ended.

use super::failure;
use super::pool::{Http1, Pool, Stream};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep, sleep_until};
use wasmtime_wasi_http::Error;

/// The body of an answer.
pub struct Download {
    body: Incoming,
    /// Until the body has ended.
    lease: Option<Lease>,
    /// Bytes that may follow.
    left: Option<u64>,
    most: Option<u64>,
    silence: Silence,
}

/// What a request has taken: one of `max-requests`, and its connection.
pub struct Lease {
    pub connection: Leased,
    pub pool: Arc<Pool>,
    pub _permit: OwnedSemaphorePermit,
}

pub enum Leased {
    Http1(Http1),
    Http2 { _stream: Stream },
}

/// Ends a body whose server sends nothing for too long while the guest waits.
struct Silence {
    limit: Option<Duration>,
    timer: Option<Pin<Box<Sleep>>>,
    /// The guest waits since a time that the timer knows.
    is_waiting: bool,
}

impl Download {
    pub fn new(body: Incoming, lease: Lease, most: Option<u64>, idle: Option<Duration>) -> Self {
        let mut download = Self {
            body,
            lease: Some(lease),
            left: most,
            most,
            silence: Silence {
                limit: idle,
                timer: None,
                is_waiting: false,
            },
        };
        download.release_at_end();
        download
    }

    /// The request is over: its connection is free for the next one.
    fn release_at_end(&mut self) {
        if self.body.is_end_stream() {
            self.release();
        }
    }

    fn release(&mut self) {
        if let Some(Lease { connection, pool, .. }) = self.lease.take()
            && let Leased::Http1(connection) = connection
        {
            pool.give(connection);
        }
    }

    /// Counts a frame.
    ///
    /// # Errors
    /// When there are more bytes than may be.
    fn count(&mut self, frame: &Frame<Bytes>) -> Result<(), Error> {
        let (Some(left), Some(data)) = (self.left, frame.data_ref()) else {
            return Ok(());
        };
        match left.checked_sub(data.len() as u64) {
            Some(left) => self.left = Some(left),
            None => return Err(Error::HttpResponseBodySize(self.most)),
        }
        Ok(())
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            ready!(self.silence.poll(context));
            // The connection is closed: the rest might come at any time.
            self.lease = None;
            return Poll::Ready(Some(Err(Error::ConnectionReadTimeout)));
        };
        self.silence.is_waiting = false;
        let Some(frame) = frame else {
            self.release();
            return Poll::Ready(None);
        };
        let frame = frame.map_err(|error| failure::of_hyper(&error));
        let frame = frame.and_then(|frame| self.count(&frame).map(|()| frame));
        match &frame {
            Ok(_) => self.release_at_end(),
            Err(_) => self.lease = None,
        }
        Poll::Ready(Some(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Silence {
    /// Completes when the guest has waited for too long.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        let Some(deadline) = Instant::now().checked_add(limit) else {
            return Poll::Pending;
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if !std::mem::replace(&mut self.is_waiting, true) {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(context)
    }
}
