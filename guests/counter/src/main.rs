//! Counters that are kept: `POST /visits` adds one and tells the sum, `GET /visits` tells it.
//!
//! The sum is right however many clients post at the same time, to however many processes: the store adds, in one
//! step. (To get a value, add to it, and set it would lose some.)

mod bindings {
    wit_bindgen::generate!({ path: "wit", world: "counter", generate_all });
}

use bindings::wasi::keyvalue::atomics::increment;
use bindings::wasi::keyvalue::store::{self, Bucket};
use wstd::http::body::{Body, Bytes, util::Empty};
use wstd::http::{Error, Method, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (status, text) = answer(request.method(), request.uri().path());
    let response = Response::builder()
        .status(status)
        .header("allow", "GET, HEAD, POST")
        .header("content-type", "text/plain; charset=utf-8");
    // The answer to HEAD has no body: writing one can fail, even the body of zero bytes that
    // `Body::empty()` is.
    if request.method() == Method::HEAD {
        let nothing = Body::from_http_body(Empty::<Bytes>::new());
        return Ok(response.body(nothing)?);
    }
    let response = response.header("content-length", text.len());
    Ok(response.body(text.into())?)
}

fn answer(method: &Method, path: &str) -> (StatusCode, String) {
    let Some(name) = name_in(path) else {
        let text = "Counters have names of 1 to 64 letters, digits, - and _: POST /visits\n";
        return (StatusCode::NOT_FOUND, text.into());
    };
    let count = match *method {
        Method::GET | Method::HEAD => read(name),
        Method::POST => add(name),
        _ => {
            return (
                StatusCode::METHOD_NOT_ALLOWED,
                "Only GET and POST.\n".into(),
            );
        }
    };
    match count {
        Ok(count) => (StatusCode::OK, format!("{count}\n")),
        Err(error) => {
            eprintln!("{name}: {error:?}");
            let text = "The counter cannot be reached.\n";
            (StatusCode::SERVICE_UNAVAILABLE, text.into())
        }
    }
}

/// The store that the configuration grants: `keyvalue = { default = "embedded" }`.
fn counters() -> Result<Bucket, store::Error> {
    store::open("default")
}

fn add(name: &str) -> Result<i64, store::Error> {
    increment(&counters()?, name, 1)
}

fn read(name: &str) -> Result<i64, store::Error> {
    let value = counters()?.get(name)?;
    // Counters are stored as text.
    let text = value.map(String::from_utf8).and_then(Result::ok);
    Ok(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

/// The name of a counter, from a path such as `/visits`.
fn name_in(path: &str) -> Option<&str> {
    let name = path.strip_prefix('/')?;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    ((1..=64).contains(&name.len()) && name.bytes().all(is_allowed)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::name_in;

    #[test]
    fn names_are_short_and_plain() {
        assert_eq!(name_in("/visits"), Some("visits"));
        assert_eq!(name_in("/"), None);
        assert_eq!(name_in("/a/b"), None);
        assert_eq!(name_in(&format!("/{}", "a".repeat(65))), None);
    }
}
