//! Answers one HTTP request: admission, the guest's answer, its validation, and refusals (4xx, 5xx) in its place.

use super::download::{Download, Source};
use super::exchange::Exchange;
use super::head;
use super::prefetch::prefetch;
use super::respond::Refusal;
use super::session::Session;
use super::state::ActiveRequest;
use super::upload::{Upload, drain_unread};
use crate::journal::Level;
use crate::runtime::{Cause, GuestEnd, Unanswered};
use crate::serve::admission::sources::TooMany;
use ::http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap};
use ::http::response::Parts;
use ::http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use wasm_sock_stats::Outcome;

/// A guest's answer, or why there is none.
type Answered = Result<(Parts, Source), Refusal>;

/// Answers one request (hyper's service function). Never fails: every error becomes an HTTP status.
pub async fn answer(session: Arc<Session>, request: Request<Incoming>) -> Result<Response<Download>, Infallible> {
    let version = request.version();
    let mut active = session.state.start_request(version == Version::HTTP_2);
    let (permit, refused) = match admit(&session, &mut active) {
        Ok(permit) => (Some(permit), None),
        Err(refusal) => (None, Some(refusal)),
    };
    let is_head = request.method() == Method::HEAD;
    let expects_continue = request.headers().contains_key(EXPECT);
    let exchange = Exchange::new(session.clone(), &request, permit);
    let answered = match refused {
        None => ask_guest(&exchange, request).await,
        Some(refusal) => {
            drop(Upload::new(request.into_body(), exchange.clone()));
            Err(refusal)
        }
    };
    let answered = checked(&exchange, answered, is_head);
    // If the body is not read to its end, the beginning of the next request cannot be found.
    let is_last = version < Version::HTTP_2 && !drain_unread(&exchange, answered.is_ok(), expects_continue).await;
    let mut response = respond(answered, is_head, exchange, active);
    // hyper's own shutdown would say so only in the next answer: it may write this head before the driver runs again.
    let ends_politely = || session.host.activity.is_closing() || session.handler.is_replaced();
    if is_last || (version < Version::HTTP_2 && ends_politely()) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response)
}

/// Acquires the permit of one of the handler's concurrent requests, which is held until the guest is done with it, and
/// counts `active` for its source until it is answered.
///
/// # Errors
/// 429 when its source has too many requests, 503 when the handler has.
fn admit(session: &Session, active: &mut ActiveRequest) -> Result<OwnedSemaphorePermit, Refusal> {
    let refused = |status, why: String| Refusal {
        status,
        level: Level::Warning,
        cause: Cause::new(Outcome::Refused, why),
    };
    let handler = &session.handler;
    match handler.request_sources.admit(session.peer.address()) {
        Ok(counted) => active.counted = Some(counted),
        Err(TooMany(most)) => {
            let why = format!(
                "it has {most} requests that are being answered (raise `max-connections-per-source` if it may have more)"
            );
            return Err(refused(StatusCode::TOO_MANY_REQUESTS, why));
        }
    }
    let permit = handler.request_permits.clone().try_acquire_owned();
    permit.map_err(|_| {
        let why = "too many concurrent requests (raise `max-connections` if there may be more)";
        refused(StatusCode::SERVICE_UNAVAILABLE, why.to_owned())
    })
}

/// Lets a guest answer, if the request is valid and there is a module.
async fn ask_guest(exchange: &Arc<Exchange>, request: Request<Incoming>) -> Answered {
    let Session {
        host, handler, peer, ..
    } = &*exchange.session;
    let (mut parts, body) = request.into_parts();
    let upload = Upload::new(body, exchange.clone());
    if content_length(&parts.headers).is_some_and(|length| length > handler.config.http.max_body) {
        return Err(too_large(exchange));
    }
    head::complete(&mut parts, handler.config.http.forwarded_for, peer.address())?;
    // Looked up again for each request: see `serve::connection`.
    let Ok(program) = handler.program(&host.engines, Some(&host.compiled)).await else {
        let why = "the handler has no module that can be used (see above)";
        let cause = Cause::new(Outcome::NoModule, why);
        return Err(Refusal::failed(StatusCode::SERVICE_UNAVAILABLE, cause));
    };
    let request = Request::from_parts(parts, upload.boxed_unsync());
    match program.answer(&host.engines, request, exchange).await {
        Ok((response, guest)) => {
            let (head, body) = response.into_parts();
            let body = prefetch(body, || guest.is_broken()).await;
            Ok((head, Source::Guest { body, guest }))
        }
        Err(Unanswered::TimedOut) => Err(timed_out(exchange, handler.config.limits.timeout)),
        Err(Unanswered::Failed(cause)) => Err(internal(cause)),
        // When the client connected, the module answered HTTP.
        Err(Unanswered::NotHttp) => {
            let why = "the handler's module no longer answers HTTP requests";
            let cause = Cause::new(Outcome::NoModule, why);
            Err(Refusal::failed(StatusCode::SERVICE_UNAVAILABLE, cause))
        }
    }
}

/// Refuses an answer that must not be sent. A mistake of the client (body too large or cut off) counts before what the
/// guest answered.
fn checked(exchange: &Exchange, answered: Answered, is_head: bool) -> Answered {
    match answered {
        _ if exchange.is_too_large.load(Relaxed) => Err(too_large(exchange)),
        Err(_) if exchange.is_cut.load(Relaxed) => Err(Refusal {
            status: StatusCode::BAD_REQUEST,
            level: Level::Info,
            cause: Cause::new(Outcome::ClientLeft, "client left"),
        }),
        // 1xx is not a final status, and none is above 599 (RFC 9110, 15).
        Ok((head, _)) if !(200..600).contains(&head.status.as_u16()) => Err(internal(Cause::trap(format!(
            "answered with status {}, which is not a final one (200 to 599)",
            head.status.as_u16()
        )))),
        Ok((head, source)) if has_body(head.status, is_head) => check_length(head, source),
        answered => answered,
    }
}

/// Refuses an answer whose body was prefetched completely, and does not have the length that its head promises.
fn check_length(head: Parts, source: Source) -> Answered {
    match (content_length(&head.headers), source.complete_length()) {
        (Some(promised), Some(length)) if length != promised => Err(internal(Cause::trap(format!(
            "its answer has {length} bytes, and its content-length promises {promised}"
        )))),
        _ => Ok((head, source)),
    }
}

/// The response for hyper: the guest's, or the host's refusal. The request is `active` until the response was sent.
fn respond(answered: Answered, is_head: bool, exchange: Arc<Exchange>, active: ActiveRequest) -> Response<Download> {
    match answered {
        Err(refusal) => refusal.respond(exchange, active),
        Ok((head, source)) => {
            exchange.set_status(head.status);
            let promised = content_length(&head.headers);
            let body = match has_body(head.status, is_head) {
                true => Download::new(source, promised, exchange, active),
                false => Download::without_body(source, exchange, active),
            };
            Response::from_parts(head, body)
        }
    }
}

fn has_body(status: StatusCode, is_head: bool) -> bool {
    !is_head && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn internal(cause: Cause) -> Refusal {
    let why = format!("ended: {}", cause.why);
    Refusal::failed(StatusCode::INTERNAL_SERVER_ERROR, Cause { why, ..cause })
}

fn too_large(exchange: &Exchange) -> Refusal {
    let most = exchange.session.handler.config.http.max_body;
    Refusal::bad(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("its body has more than {most} bytes (raise `max-body` if it may)"),
    )
}

/// The refusal after `timeout`: 408 if the request's body has not arrived, else 504.
fn timed_out(exchange: &Exchange, limit: Option<Duration>) -> Refusal {
    if !exchange.is_received.load(Relaxed) {
        let why = format!("its body did not come within {:?}", limit.unwrap_or_default());
        return Refusal::bad(StatusCode::REQUEST_TIMEOUT, why);
    }
    let end = GuestEnd::timed_out(limit.unwrap_or_default());
    let (_, why) = end.report();
    Refusal::failed(StatusCode::GATEWAY_TIMEOUT, Cause::new(end.outcome(), why))
}
