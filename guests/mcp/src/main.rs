//! A tool server of the Model Context Protocol: programs that talk to language models call its tools over HTTP.
//!
//! A server without sessions: each request has all that its answer needs, so a fresh guest answers it, and none runs
//! in between. The tools are in `tools.rs`.
//!
//! `token` of `wasi:config`, a secret of the handler, is what clients have to send: `Authorization: Bearer TOKEN`.
//! Without one, all clients are served. `origins` are the web sites whose pages may call the tools, separated by
//! spaces.

mod admission;
mod protocol;
mod tools;

use serde_json::Value;
use wstd::http::body::util::{BodyExt, Empty, LengthLimitError, Limited};
use wstd::http::body::{Body, Bytes};
use wstd::http::{Error, HeaderMap, Request, Response, StatusCode};

wit_bindgen::generate!({ path: "wit", world: "configured", generate_all });

/// The largest request, in bytes, because all of it is held in memory.
const MAX_BODY: usize = 1024 * 1024;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    if let Err(refusal) = admission::check(&head.method, &head.headers, value) {
        return refuse(refusal);
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err(status) => return refuse(admission::Refusal::of(status)),
    };
    let (status, answer) = protocol::answer(|name| header(&head.headers, name), &body);
    respond(status, answer)
}

/// A value of the handler's `config` or `secrets`; an empty one is none. If it cannot be read, no client is served.
fn value(key: &str) -> Result<Option<String>, ()> {
    let value = wasi::config::store::get(key).map_err(|error| {
        eprintln!("{key}: {error:?}");
    })?;
    Ok(value.filter(|value| !value.is_empty()))
}

async fn read(body: Body) -> Result<Bytes, StatusCode> {
    let body = Limited::new(body.into_boxed_body(), MAX_BODY).collect();
    match body.await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::BAD_REQUEST),
    }
}

/// The value of a header; empty if there is none.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

fn respond(status: StatusCode, answer: Option<Value>) -> Result<Response<Body>, Error> {
    let response = Response::builder().status(status);
    let Some(answer) = answer else {
        return Ok(response.body(nothing())?);
    };
    let text = answer.to_string();
    let response = response
        .header("content-type", "application/json")
        .header("content-length", text.len());
    Ok(response.body(text.into())?)
}

fn refuse(refusal: admission::Refusal) -> Result<Response<Body>, Error> {
    let mut response = Response::builder().status(refusal.status);
    if let Some((name, value)) = refusal.header {
        response = response.header(name, value);
    }
    Ok(response.body(nothing())?)
}

/// Not even a body of zero bytes: writing one can fail, after HEAD for example.
fn nothing() -> Body {
    Body::from_http_body(Empty::<Bytes>::new())
}
