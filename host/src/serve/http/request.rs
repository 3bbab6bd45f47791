//! One request: what it has to be, whom it says it comes from, and the guest that answers it.

use super::Session;
use super::body::{Download, Source, Upload, begun, is_taken_to_its_end};
use super::exchange::Exchange;
use super::respond::Refusal;
use super::wire::Busy;
use crate::config::ForwardedFor;
use crate::guest::{End, Unanswered};
use crate::journal::Level;
use crate::module::TooMany;
use ::http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderMap};
use ::http::request::Parts;
use ::http::uri::{Authority, PathAndQuery, Scheme, Uri};
use ::http::{HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version};
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

impl Session {
    /// Gives a request what guests ask it for: scheme, authority, and who sent it.
    fn complete(&self, parts: &mut Parts) -> Result<(), Refusal> {
        let bad = |why: &str| Refusal::bad(StatusCode::BAD_REQUEST, why);
        if parts.method == Method::CONNECT {
            let why = "CONNECT is for proxies";
            return Err(Refusal::bad(StatusCode::METHOD_NOT_ALLOWED, why));
        }
        let mut hosts = parts.headers.get_all(HOST).iter();
        let authority = match (parts.uri.authority(), hosts.next(), hosts.next()) {
            (_, _, Some(_)) => return Err(bad("it has several Host headers")),
            (Some(authority), ..) => authority.clone(),
            (None, Some(host), None) => {
                Authority::try_from(host.as_bytes()).map_err(|_| bad("its Host header is no host"))?
            }
            (None, None, None) if parts.version <= Version::HTTP_10 => Authority::from_static("localhost"),
            (None, None, None) => return Err(bad("it has no Host header")),
        };
        let mode = self.handler.config.http.forwarded_for;
        let scheme = match mode == ForwardedFor::Trust && came_by_https(&parts.headers) {
            true => Scheme::HTTPS,
            false => Scheme::HTTP,
        };
        self.forwarded(mode, &mut parts.headers, &authority);
        let mut uri = std::mem::take(&mut parts.uri).into_parts();
        uri.scheme = Some(scheme);
        uri.authority = Some(authority);
        uri.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
        parts.uri = Uri::from_parts(uri).map_err(|_| bad("its target is no path"))?;
        Ok(())
    }

    /// Sees to it that a guest can believe the headers that tell where a request came from.
    fn forwarded(&self, mode: ForwardedFor, headers: &mut HeaderMap, authority: &Authority) {
        if mode == ForwardedFor::Trust {
            return;
        }
        let claims =
            |name: &HeaderName| name.as_str().starts_with("x-forwarded-") || name == FORWARDED || name == X_REAL_IP;
        let claimed: Vec<HeaderName> = headers.keys().filter(|name| claims(name)).cloned().collect();
        for name in claimed {
            headers.remove(name);
        }
        if mode == ForwardedFor::Off {
            return;
        }
        if let Some(address) = self.peer.address()
            && let Ok(value) = HeaderValue::try_from(address.to_string())
        {
            headers.insert(X_FORWARDED_FOR, value);
        }
        if let Ok(value) = HeaderValue::from_str(authority.as_str()) {
            headers.insert(X_FORWARDED_HOST, value);
        }
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }

    /// The answer is broken off: over HTTP/1 only a reset tells (HTTP/2 resets the request alone).
    pub fn break_off(&self) {
        if !self.wire.is_http2() {
            self.is_broken.store(true, Relaxed);
        }
    }
}

/// Do the headers of a proxy say that the client spoke HTTPS? The first of several proxies knows.
fn came_by_https(headers: &HeaderMap) -> bool {
    let value = |name: &HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let is_https = |scheme: &str| scheme.trim().eq_ignore_ascii_case("https");
    if let Some(proto) = value(&X_FORWARDED_PROTO) {
        return is_https(split(proto, ',').next().unwrap_or_default());
    }
    // `for=192.0.2.60;proto=https;by="[2001:db8::1]"` (RFC 7239, 4).
    let first = split(value(&FORWARDED).unwrap_or_default(), ',').next();
    let parts = split(first.unwrap_or_default(), ';');
    let mut parts = parts.filter_map(|part| part.split_once('='));
    parts.any(|(name, value)| name.trim().eq_ignore_ascii_case("proto") && is_https(value.trim().trim_matches('"')))
}

/// The parts of a header between separators that are not quoted (RFC 9110, 5.6.4).
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    text.split(move |c| {
        let was_escaped = std::mem::take(&mut is_escaped);
        match c {
            _ if was_escaped => {}
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            _ => return c == separator && !is_quoted,
        }
        false
    })
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
