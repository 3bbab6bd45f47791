//! One request: what it has to be, whom it says it comes from, and the guest that answers it.

use super::Session;
use super::download::{Download, Source};
use super::exchange::Exchange;
use super::prefetch::begun;
use super::respond::Refusal;
use super::upload::{Upload, is_taken_to_its_end};
use super::wire::Busy;
use crate::guest::{End, Unanswered};
use crate::journal::Level;
use crate::module::TooMany;
use ::http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderMap};
use ::http::{HeaderValue, Method, Request, Response, StatusCode, Version};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;

type Answered = Result<(::http::response::Parts, Source), Refusal>;

/// Answers one request. Never fails: whatever goes wrong has its status.
pub async fn answer(session: Arc<Session>, request: Request<Incoming>) -> Result<Response<Download>, Infallible> {
    let version = request.version();
    let mut busy = session.wire.begin(version == Version::HTTP_2);
    let (permit, refused) = match place(&session, &mut busy) {
        Ok(permit) => (Some(permit), None),
        Err(refusal) => (None, Some(refusal)),
    };
    let is_head = request.method() == Method::HEAD;
    let exchange = Exchange::new(session.clone(), &request, permit);
    let asks_first = request.headers().contains_key(EXPECT);
    let answered = match refused {
        None => attend(&exchange, request).await,
        Some(refusal) => {
            drop(Upload::new(request.into_body(), exchange.clone()));
            Err(refusal)
        }
    };
    let has_body = |status| !is_head && status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED;
    let answered = match answered {
        _ if exchange.is_too_large.load(Relaxed) => Err(too_large(&exchange)),
        Err(_) if exchange.is_cut.load(Relaxed) => Err(Refusal::bad(StatusCode::BAD_REQUEST, "client left")),
        // Another may follow a head with a status of 1xx, and none is larger (RFC 9110, 15).
        Ok((head, _)) if !(200..600).contains(&head.status.as_u16()) => Err(internal(format!(
            "answered with the status {}, which ends no request",
            head.status.as_u16()
        ))),
        Ok((head, source)) if has_body(head.status) => keeps_promise(head, source),
        answered => answered,
    };
    // What comes after a body that is not taken to its end cannot be told from it.
    let is_last = version < Version::HTTP_2 && !is_taken_to_its_end(&exchange, answered.is_ok(), asks_first).await;
    let mut response = match answered {
        Err(refusal) => refusal.respond(exchange, busy),
        Ok((head, source)) => {
            exchange.set_status(head.status);
            let length = length(&head.headers);
            let body = match has_body(head.status) {
                true => Download::new(source, length, exchange, busy),
                false => Download::none(source, exchange, busy),
            };
            Response::from_parts(head, body)
        }
    };
    if is_last || (session.host.activity.is_closing() && version < Version::HTTP_2) {
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response)
}

/// A place for one more request, among those of its handler until its guest is done, and among those of its source
/// until it is answered.
fn place(session: &Session, busy: &mut Busy) -> Result<OwnedSemaphorePermit, Refusal> {
    let refused = |status, why: String| Refusal {
        status,
        level: Level::Warning,
        why,
    };
    let handler = &session.handler;
    match handler.request_sources.admit(session.peer.address()) {
        Ok(counted) => busy.counted = Some(counted),
        Err(TooMany(most)) => {
            let why = format!(
                "it has {most} requests that are being answered (raise `max-connections-per-source` if it may have more)"
            );
            return Err(refused(StatusCode::TOO_MANY_REQUESTS, why));
        }
    }
    let permit = handler.requests.clone().try_acquire_owned();
    permit.map_err(|_| {
        let why = "too many requests at a time (raise `max-connections` if there may be more)";
        refused(StatusCode::SERVICE_UNAVAILABLE, why.to_owned())
    })
}

/// An answer that is here as a whole has the length that it promises.
fn keeps_promise(head: ::http::response::Parts, source: Source) -> Answered {
    match (length(&head.headers), source.whole_length()) {
        (Some(promised), Some(length)) if length != promised => Err(internal(format!(
            "its answer has {length} bytes, and its content-length promises {promised}"
        ))),
        _ => Ok((head, source)),
    }
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

async fn attend(exchange: &Arc<Exchange>, request: Request<Incoming>) -> Answered {
    let Session { host, handler, .. } = &*exchange.session;
    let (mut parts, body) = request.into_parts();
    let upload = Upload::new(body, exchange.clone());
    if length(&parts.headers).is_some_and(|length| length > handler.config.http.max_body) {
        return Err(too_large(exchange));
    }
    exchange.session.complete(&mut parts)?;
    let Ok(program) = handler.program(&host.engines, Some(&host.compiled)).await else {
        let why = "the handler has no module that can be used (see above)";
        return Err(Refusal::failed(StatusCode::SERVICE_UNAVAILABLE, why));
    };
    let request = Request::from_parts(parts, upload.boxed_unsync());
    match program.answer(&host.engines, request, exchange).await {
        Ok((response, guest)) => {
            let (head, body) = response.into_parts();
            let body = begun(body, || guest.is_broken()).await;
            Ok((head, Source::Guest { body, guest }))
        }
        Err(Unanswered::TimedOut) => Err(timed_out(exchange, handler.config.limits.timeout)),
        Err(Unanswered::Failed(why)) => Err(internal(why)),
        Err(Unanswered::NotHttp) => {
            let why = "the handler's module answers no HTTP requests any more";
            Err(Refusal::failed(StatusCode::SERVICE_UNAVAILABLE, why))
        }
    }
}

fn internal(why: String) -> Refusal {
    Refusal::failed(StatusCode::INTERNAL_SERVER_ERROR, format!("ended: {why}"))
}

fn too_large(exchange: &Exchange) -> Refusal {
    let most = exchange.session.handler.config.http.max_body;
    Refusal::bad(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("its body has more than {most} bytes (raise `max-body` if it may)"),
    )
}

fn timed_out(exchange: &Exchange, limit: Option<Duration>) -> Refusal {
    if !exchange.is_received.load(Relaxed) {
        let why = format!("its body did not come within {:?}", limit.unwrap_or_default());
        return Refusal::bad(StatusCode::REQUEST_TIMEOUT, why);
    }
    let (_, why) = End::timed_out(limit.unwrap_or_default()).report();
    Refusal::failed(StatusCode::GATEWAY_TIMEOUT, why)
}
