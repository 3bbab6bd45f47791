//! Greets the client over HTTP: `GET /`, or `GET /?name=Ada`.
//!
//! `GREETING` in the environment replaces the word.

use std::env::var;

use wstd::http::body::{Body, Bytes, util::Empty};
use wstd::http::{Error, Method, Request, Response, StatusCode};

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (status, text) = answer(&request);
    let response = Response::builder()
        .status(status)
        .header("allow", "GET, HEAD")
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

fn answer(request: &Request<Body>) -> (StatusCode, String) {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, "Only GET.\n".into());
    }
    if request.uri().path() != "/" {
        return (StatusCode::NOT_FOUND, "There is only /.\n".into());
    }
    let greeting = var("GREETING").unwrap_or("Hello".into());
    let name = name_in(request.uri().query().unwrap_or_default());
    (StatusCode::OK, format!("{greeting}, {name}!\n"))
}

/// The name to greet, from a query such as `name=Ada+Lovelace`.
fn name_in(query: &str) -> String {
    let mut fields = form_urlencoded::parse(query.as_bytes());
    let name = fields.find(|(key, value)| key == "name" && !value.is_empty());
    name.map_or("stranger".into(), |(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::name_in;

    #[test]
    fn the_name_is_decoded() {
        assert_eq!(name_in("a=b&name=Ada+Lovelace%21"), "Ada Lovelace!");
    }

    #[test]
    fn a_client_without_a_name_is_a_stranger() {
        assert_eq!(name_in(""), "stranger");
        assert_eq!(name_in("name="), "stranger");
    }
}
