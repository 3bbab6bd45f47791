//! Receives webhooks as GitHub sends them: `POST`, JSON, signed.
//!
//! `WEBHOOK_SECRET` in the environment is the secret that GitHub was given. Every accepted event
//! is logged.

mod event;
mod signature;

use std::env::var;

use serde_json::{Value, json};
use wstd::http::body::util::{BodyExt, Empty, LengthLimitError, Limited};
use wstd::http::body::{Body, Bytes};
use wstd::http::{Error, HeaderMap, Method, Request, Response, StatusCode};

/// The largest body that is read, in bytes, because all of it is held in memory. GitHub sends up to
/// 25 MB; this is enough for most events.
const MAX_BODY: usize = 1024 * 1024;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    if request.method() != Method::POST {
        return only_post();
    }
    let (status, answer) = match receive(request).await {
        Ok(summary) => (StatusCode::OK, summary),
        Err((status, reason)) => (status, json!({ "error": reason })),
    };
    let text = format!("{answer}\n");
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json")
        .header("content-length", text.len())
        .body(text.into())?;
    Ok(response)
}

fn only_post() -> Result<Response<Body>, Error> {
    // The answer to HEAD has no body: writing one can fail, even the body of zero bytes that
    // `Body::empty()` is.
    let nothing = Body::from_http_body(Empty::<Bytes>::new());
    let response = Response::builder()
        .status(StatusCode::METHOD_NOT_ALLOWED)
        .header("allow", "POST")
        .body(nothing)?;
    Ok(response)
}

/// Why an event is not accepted: the status and the text of the answer.
type Refusal = (StatusCode, &'static str);

async fn receive(request: Request<Body>) -> Result<Value, Refusal> {
    let (head, body) = request.into_parts();
    let secret = var("WEBHOOK_SECRET").unwrap_or_default();
    if secret.is_empty() {
        eprintln!("WEBHOOK_SECRET is not set, so no event can be verified");
        return Err((StatusCode::INTERNAL_SERVER_ERROR, "no secret is set"));
    }
    if !is_json(header(&head.headers, "content-type")) {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "only application/json"));
    }
    let body = read(body).await?;
    // Verified before it is parsed.
    if !signature::is_valid(header(&head.headers, "x-hub-signature-256"), &secret, &body) {
        return Err((StatusCode::UNAUTHORIZED, "no valid signature"));
    }
    let summary = event::summary(header(&head.headers, "x-github-event"), &body)
        .map_err(|_| (StatusCode::BAD_REQUEST, "not the JSON of an event"))?;
    eprintln!("accepted {summary}");
    Ok(summary)
}

/// The value of a header; empty if there is none.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

/// Whether it is `application/json`, in any case, with or without parameters.
fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    match Limited::new(body.into_boxed_body(), MAX_BODY)
        .collect()
        .await
    {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err((StatusCode::PAYLOAD_TOO_LARGE, "more than 1 MiB"))
        }
        Err(_) => Err((StatusCode::BAD_REQUEST, "the body broke off")),
    }
}
