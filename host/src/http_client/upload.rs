//! The body of a request, as hyper sends it: notes whether the guest or the server is waited for.

use crate::sync::lock;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use wasmtime_wasi_http::{Error, WasiBody};

/// The body of a request.
pub struct Upload {
    body: WasiBody,
    progress: Arc<Progress>,
}

/// How far the body of a request is.
pub struct Progress(Mutex<(Stage, Instant)>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The guest has to write more.
    Guest,
    /// The server has to take what was written.
    Server,
    /// hyper has all of it.
    Complete,
}

impl Upload {
    /// No body.
    pub fn none() -> (Self, Arc<Progress>) {
        Self::new(Empty::new().map_err(|never| match never {}).boxed_unsync())
    }

    pub fn new(body: WasiBody) -> (Self, Arc<Progress>) {
        let stage = if body.is_end_stream() {
            Stage::Complete
        } else {
            Stage::Server
        };
        let progress = Arc::new(Progress(Mutex::new((stage, Instant::now()))));
        let upload = Self {
            body,
            progress: progress.clone(),
        };
        (upload, progress)
    }
}

impl Progress {
    fn reach(&self, stage: Stage) {
        let mut now = lock(&self.0);
        if now.0 != Stage::Complete {
            *now = (stage, Instant::now());
        }
    }

    /// When the server is too late, with the error that this is. `None`: the guest is waited for, or there is no such
    /// time-out.
    pub fn deadline(&self, first_byte: Option<Duration>, idle: Option<Duration>) -> Option<(Instant, Error)> {
        let (stage, since) = *lock(&self.0);
        match stage {
            Stage::Guest => None,
            Stage::Server => Some((since.checked_add(idle?)?, Error::ConnectionWriteTimeout)),
            Stage::Complete => Some((since.checked_add(first_byte?)?, Error::ConnectionReadTimeout)),
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let poll = Pin::new(&mut self.body).poll_frame(context);
        self.progress.reach(match &poll {
            Poll::Pending => Stage::Guest,
            Poll::Ready(Some(Ok(frame))) if frame.is_data() && !self.body.is_end_stream() => Stage::Server,
            Poll::Ready(_) => Stage::Complete,
        });
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// hyper has as many bytes as `Content-Length` says, or needs no more.
impl Drop for Upload {
    fn drop(&mut self) {
        self.progress.reach(Stage::Complete);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::StreamExt;
    use futures::channel::mpsc::{Sender, channel};
    use futures::task::noop_waker_ref;
    use http_body_util::{Full, StreamBody};

    const SECOND: Option<Duration> = Some(Duration::from_secs(1));
    const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

    /// A body that is written while it is read.
    fn written() -> (Sender<Bytes>, WasiBody) {
        let (sender, receiver) = channel(1);
        let frames = receiver.map(|bytes| Ok(Frame::data(bytes)));
        (sender, BodyExt::boxed_unsync(StreamBody::new(frames)))
    }

    fn is_waited_for(progress: &Progress) -> &'static str {
        match progress.deadline(MINUTE, SECOND) {
            None => "the guest",
            Some((_, Error::ConnectionWriteTimeout)) => "the server to take it",
            Some((_, Error::ConnectionReadTimeout)) => "the answer",
            Some((_, error)) => panic!("{error}"),
        }
    }

    #[test]
    fn a_request_without_a_body_waits_for_the_answer() {
        let body = Full::new(Bytes::new()).map_err(|never| match never {}).boxed_unsync();
        let (_upload, progress) = Upload::new(body);
        assert_eq!(is_waited_for(&progress), "the answer");
        assert!(progress.deadline(None, SECOND).is_none());
    }

    #[test]
    fn a_slow_guest_is_not_a_slow_server() {
        let (mut sender, body) = written();
        let (mut upload, progress) = Upload::new(body);
        let mut context = Context::from_waker(noop_waker_ref());
        assert!(Pin::new(&mut upload).poll_frame(&mut context).is_pending());
        assert_eq!(is_waited_for(&progress), "the guest");
        sender.try_send(Bytes::from_static(b"a")).expect("room");
        assert!(Pin::new(&mut upload).poll_frame(&mut context).is_ready());
        assert_eq!(is_waited_for(&progress), "the server to take it");
        drop(sender);
        assert!(Pin::new(&mut upload).poll_frame(&mut context).is_ready());
        assert_eq!(is_waited_for(&progress), "the answer");
    }

    #[test]
    fn a_body_that_hyper_needs_no_more_of_is_complete() {
        let (_sender, body) = written();
        let (upload, progress) = Upload::new(body);
        drop(upload);
        assert_eq!(is_waited_for(&progress), "the answer");
    }
}
