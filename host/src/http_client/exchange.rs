//! One request of a guest: from the wait for room to the head of its answer.

use super::client::{Client, GuestClient, MOST_WAITING, Timeouts};
use super::download::{Download, Lease, Leased};
use super::failure;
use super::origin::Origin;
use super::pool::Ready;
use super::upload::{Progress, Upload};
use crate::egress::Failure;
use ::http::header::{HOST, TE};
use ::http::uri::PathAndQuery;
use ::http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Poll, ready};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until, timeout_at};
use wasmtime_wasi_http::{Error, WasiBody};

/// Idle connections of the pool that are tried for a request, and turn out to be closed.
const MOST_CLOSED: u32 = 16;

/// Between two looks at a request whose guest has not written all of its body.
const LONGEST_LOOK: Duration = Duration::from_secs(3600);

/// Why a connection gave no answer.
enum Unanswered {
    /// Nothing of the request was sent, and none of its body was read.
    NotSent(Box<Request<Upload>>, Error),
    Failed(Error),
}

/// A request as it is sent.
struct Outgoing {
    request: Request<Upload>,
    progress: Arc<Progress>,
    origin: Arc<Origin>,
    path: PathAndQuery,
}

impl GuestClient {
    /// Sends a request to its origin, and waits for the head of the answer. `report` is called when there is no
    /// connection. Dropping the future, or the answer's body before its end, ends the exchange.
    ///
    /// # Errors
    /// For the guest.
    pub async fn send(
        &self,
        request: Request<WasiBody>,
        origin: Origin,
        asked: Timeouts,
        report: impl Fn(&Failure) + Send + Sync,
    ) -> Result<Response<WasiBody>, Error> {
        let client = &self.client;
        let timeouts = client.timeouts(asked);
        let permit = client.permit().await?;
        let is_head = request.method() == Method::HEAD;
        let outgoing = Outgoing::new(request, origin)?;
        let (response, connection) = self.exchange(outgoing, timeouts, &report).await?;
        client.answer(response, connection, permit, is_head, timeouts)
    }

    /// Sends a request on an idle connection; on a new one if there is none, or if servers have closed those just now.
    async fn exchange(
        &self,
        mut outgoing: Outgoing,
        timeouts: Timeouts,
        report: &(impl Fn(&Failure) + Send + Sync),
    ) -> Result<(Response<Incoming>, Leased), Error> {
        for _ in 0..MOST_CLOSED {
            let Some(ready) = self.client.idle(&outgoing.origin).await else {
                break;
            };
            let copy = outgoing.copy();
            match (outgoing.send(ready, timeouts).await, copy) {
                (Ok(answered), _) => return Ok(answered),
                (Err(Unanswered::NotSent(request, _)), _) => outgoing.request = *request,
                (Err(Unanswered::Failed(error)), Some(copy)) if is_lost(&error) => outgoing = copy,
                (Err(unanswered), _) => return Err(unanswered.into()),
            }
        }
        let ready = self.connected(&outgoing.origin, timeouts.connect, report).await?;
        Ok(outgoing.send(ready, timeouts).await?)
    }

    /// A new connection; or room on one that another request has made meanwhile.
    async fn connected(
        &self,
        origin: &Arc<Origin>,
        timeout: Option<Duration>,
        report: &(impl Fn(&Failure) + Send + Sync),
    ) -> Result<Ready, Error> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let turn = self.client.pool.turn_to_connect(origin);
        let turn = match deadline {
            Some(deadline) => timeout_at(deadline, turn).await.map_err(|_| Error::ConnectionTimeout)?,
            None => turn.await,
        };
        if turn.is_some()
            && let Some(ready) = self.client.pool.take(origin)
        {
            return Ok(ready);
        }
        self.client.pool.make_room(self.client.under_way());
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        self.connect(origin, left, report).await
    }
}

impl Client {
    /// The requests that have a permit.
    fn under_way(&self) -> usize {
        let most = (self.limits.max_requests as usize).min(Semaphore::MAX_PERMITS);
        most.saturating_sub(self.permits.available_permits())
    }

    /// Waits for one of `max-requests`.
    async fn permit(&self) -> Result<OwnedSemaphorePermit, Error> {
        struct Waiting<'a>(&'a Client);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.waiting.fetch_sub(1, Relaxed);
            }
        }
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Ok(permit);
        }
        let before = self.waiting.fetch_add(1, Relaxed);
        let _waiting = Waiting(self);
        if before >= MOST_WAITING {
            return Err(Error::ConnectionLimitReached);
        }
        let permit = self.permits.clone().acquire_owned().await;
        // The semaphore is never closed.
        permit.map_err(|_| Error::ConnectionLimitReached)
    }

    /// A connection of the pool.
    async fn idle(&self, origin: &Origin) -> Option<Ready> {
        if let Some(ready) = self.pool.take(origin) {
            return Some(ready);
        }
        if !self.pool.is_about_to_be_ready(origin) {
            return None;
        }
        // The guest has read the end of an answer before the task of its connection went on.
        yield_now().await;
        self.pool.take(origin)
    }

    fn answer(
        &self,
        response: Response<Incoming>,
        connection: Leased,
        permit: OwnedSemaphorePermit,
        is_head: bool,
        timeouts: Timeouts,
    ) -> Result<Response<WasiBody>, Error> {
        // Guests cannot ask for it.
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Error::HttpUpgradeFailed);
        }
        let most = self.limits.max_body;
        let length = response.body().size_hint().lower();
        if !is_head && most.is_some_and(|most| length > most) {
            return Err(Error::HttpResponseBodySize(Some(length)));
        }
        let pool = self.pool.clone();
        let lease = Lease {
            connection,
            pool,
            _permit: permit,
        };
        Ok(response.map(|body| Download::new(body, lease, most, timeouts.between_bytes).boxed_unsync()))
    }
}

impl Outgoing {
    fn new(request: Request<WasiBody>, origin: Origin) -> Result<Self, Error> {
        // Tunnels would lead to where no grant was checked.
        if request.method() == Method::CONNECT {
            return Err(Error::HttpRequestMethodInvalid);
        }
        let (parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().cloned();
        let (upload, progress) = Upload::new(body);
        Ok(Self {
            request: Request::from_parts(parts, upload),
            progress,
            origin: Arc::new(origin),
            path: path.unwrap_or_else(|| PathAndQuery::from_static("/")),
        })
    }

    /// The request once more, if it may be sent twice (RFC 9110, 9.2.2) and has no body.
    fn copy(&self) -> Option<Self> {
        if !self.request.method().is_idempotent() || !self.request.body().is_end_stream() {
            return None;
        }
        let (upload, progress) = Upload::none();
        let mut request = Request::new(upload);
        *request.method_mut() = self.request.method().clone();
        *request.headers_mut() = self.request.headers().clone();
        Some(Self {
            request,
            progress,
            origin: self.origin.clone(),
            path: self.path.clone(),
        })
    }

    /// Sends the request, and waits for the answer's head.
    async fn send(&mut self, ready: Ready, timeouts: Timeouts) -> Result<(Response<Incoming>, Leased), Unanswered> {
        let request = self
            .take(matches!(ready, Ready::Http2(_)))
            .map_err(Unanswered::Failed)?;
        match ready {
            Ready::Http1(mut connection) => {
                let sent = connection.sender.try_send_request(request);
                let response = head(sent, &self.progress, timeouts).await?;
                Ok((response, Leased::Http1(connection)))
            }
            Ready::Http2(mut stream) => {
                let sent = stream.sender.try_send_request(request);
                let response = head(sent, &self.progress, timeouts).await?;
                Ok((response, Leased::Http2 { _stream: stream }))
            }
        }
    }

    /// The request as this version of HTTP has it. `Host` is of the origin that was checked, whatever the guest set.
    fn take(&mut self, is_http2: bool) -> Result<Request<Upload>, Error> {
        let placeholder = Request::new(Upload::none().0);
        let mut request = std::mem::replace(&mut self.request, placeholder);
        let (url, host) = match is_http2 {
            true => (self.origin.url(self.path.clone()), None),
            false => (Some(Uri::from(self.path.clone())), self.origin.host_header()),
        };
        *request.uri_mut() = url.ok_or(Error::HttpRequestUriInvalid)?;
        *request.version_mut() = if is_http2 { Version::HTTP_2 } else { Version::HTTP_11 };
        let headers = request.headers_mut();
        headers.remove(HOST);
        if let Some(host) = host {
            headers.insert(HOST, host);
        }
        // Other codings are between this host and the server (RFC 9110, 10.1.4).
        if headers.get(TE).is_some_and(|te| te != "trailers") {
            headers.insert(TE, HeaderValue::from_static("trailers"));
        }
        Ok(request)
    }
}

/// Waits for the head of the answer to a request that was `sent`, within the time-outs.
async fn head(
    sent: impl Future<Output = Result<Response<Incoming>, TrySendError<Request<Upload>>>>,
    progress: &Progress,
    timeouts: Timeouts,
) -> Result<Response<Incoming>, Unanswered> {
    let (first_byte, idle) = (timeouts.first_byte, timeouts.between_bytes);
    let mut sent = pin!(sent);
    let mut timer = pin!(sleep_until(Instant::now()));
    let mut is_set = false;
    poll_fn(|context| {
        if let Poll::Ready(result) = sent.as_mut().poll(context) {
            return Poll::Ready(result.map_err(unanswered));
        }
        loop {
            let now = Instant::now();
            let next = match progress.deadline(first_byte, idle) {
                Some((deadline, error)) if deadline <= now => {
                    return Poll::Ready(Err(Unanswered::Failed(error)));
                }
                Some((deadline, _)) => deadline,
                // The guest is waited for. Its next byte wakes only the connection's task: looks again in time.
                None => now + first_byte.into_iter().chain(idle).min().unwrap_or(LONGEST_LOOK),
            };
            if !is_set || timer.deadline() > next {
                timer.as_mut().reset(next);
                is_set = true;
            }
            ready!(timer.as_mut().poll(context));
            is_set = false;
        }
    })
    .await
}

/// Was the connection lost before an answer?
fn is_lost(error: &Error) -> bool {
    matches!(error, Error::ConnectionTerminated | Error::HttpResponseIncomplete)
}

impl From<Unanswered> for Error {
    fn from(unanswered: Unanswered) -> Self {
        match unanswered {
            Unanswered::NotSent(_, error) | Unanswered::Failed(error) => error,
        }
    }
}

fn unanswered(mut error: TrySendError<Request<Upload>>) -> Unanswered {
    match error.take_message() {
        Some(request) => Unanswered::NotSent(Box::new(request), failure::of_hyper(error.error())),
        None => Unanswered::Failed(failure::of_hyper(error.error())),
    }
}
