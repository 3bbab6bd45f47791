//! A link shortener: `POST /` with `url=https://…`, as a form has it, makes a short link, and `GET /CODE` leads there.
//!
//! The links are in the key-value store `default`. `token` of `wasi:config`, a secret of the handler, is what makers of
//! links send: `Authorization: Bearer TOKEN`; without one, everyone may make links. `base` is what short links begin
//! with, such as `https://s.example`.

mod code;
mod links;

use subtle::ConstantTimeEq;
use wstd::http::body::util::{BodyExt, Empty, LengthLimitError, Limited};
use wstd::http::body::{Body, Bytes};
use wstd::http::{Error, HeaderMap, Method, Request, Response, StatusCode, Uri};

wit_bindgen::generate!({ path: "wit", world: "keeping", generate_all });

/// The longest address, in bytes: more than browsers show.
const MAX_URL: usize = 2048;

#[wstd::http_server]
async fn main(request: Request<Body>) -> Result<Response<Body>, Error> {
    let (head, body) = request.into_parts();
    let code = head.uri.path().trim_start_matches('/');
    let answer = match (&head.method, code) {
        (&Method::POST, "") => make(&head.headers, body).await,
        (&Method::GET | &Method::HEAD, "") => Ok(Answer::text(StatusCode::OK, "POST a url=.\n")),
        (&Method::GET | &Method::HEAD, code) => follow(code),
        _ => Err((
            StatusCode::METHOD_NOT_ALLOWED,
            "Only GET, HEAD, and POST /.\n",
        )),
    };
    let answer = answer.unwrap_or_else(|(status, why)| Answer::text(status, why));
    answer.respond(head.method == Method::HEAD)
}

/// Why there is no link: the status and the text of the answer.
type Refusal = (StatusCode, &'static str);

struct Answer {
    status: StatusCode,
    location: Option<String>,
    text: String,
}

impl Answer {
    fn text(status: StatusCode, text: &str) -> Answer {
        Answer {
            status,
            location: None,
            text: text.to_owned(),
        }
    }

    fn respond(self, is_head: bool) -> Result<Response<Body>, Error> {
        let mut response = Response::builder()
            .status(self.status)
            .header("allow", "GET, HEAD, POST")
            .header("content-type", "text/plain; charset=utf-8")
            .header("content-length", self.text.len());
        if let Some(location) = self.location {
            response = response.header("location", location);
        }
        // Not even a body of zero bytes: after HEAD, writing one can fail.
        let nothing = || Body::from_http_body(Empty::<Bytes>::new());
        Ok(response.body(if is_head { nothing() } else { self.text.into() })?)
    }
}

async fn make(headers: &HeaderMap, body: Body) -> Result<Answer, Refusal> {
    if let Some(token) = configured("token")? {
        // Not `==`, which stops at the first difference: an attacker could measure how much of a guess was right.
        let sent = header(headers, "authorization")
            .strip_prefix("Bearer ")
            .unwrap_or_default();
        if !bool::from(token.as_bytes().ct_eq(sent.as_bytes())) {
            return Err((StatusCode::UNAUTHORIZED, "Makers of links need a token.\n"));
        }
    }
    let body = read(body).await?;
    let mut fields = form_urlencoded::parse(&body);
    let url = fields
        .find(|(name, _)| name == "url")
        .map(|(_, url)| url.into_owned())
        .unwrap_or_default();
    if !is_address(&url) {
        return Err((
            StatusCode::UNPROCESSABLE_ENTITY,
            "The url has to begin with http:// or https://.\n",
        ));
    }
    let code = links::keep(&url).map_err(unavailable)?;
    let base = configured("base")?.unwrap_or_default();
    Ok(Answer {
        status: StatusCode::CREATED,
        location: Some(format!("/{code}")),
        text: format!("{}/{code}\n", base.trim_end_matches('/')),
    })
}

fn follow(code: &str) -> Result<Answer, Refusal> {
    let nothing = (StatusCode::NOT_FOUND, "There is no such link.\n");
    // No other key of the store is asked for.
    let url = match code::is_code(code) {
        true => links::find(code).map_err(unavailable)?,
        false => None,
    };
    let url = url.ok_or(nothing)?;
    Ok(Answer {
        status: StatusCode::FOUND,
        text: format!("{url}\n"),
        location: Some(url),
    })
}

/// A value of the handler's `config` or `secrets`; an empty one is none.
fn configured(key: &str) -> Result<Option<String>, Refusal> {
    let value = wasi::config::store::get(key).map_err(unavailable)?;
    Ok(value.filter(|value| !value.is_empty()))
}

/// Tells the log what went wrong, and the client that something did.
fn unavailable(error: impl std::fmt::Debug) -> Refusal {
    eprintln!("{error:?}");
    (
        StatusCode::SERVICE_UNAVAILABLE,
        "The links are out of reach.\n",
    )
}

/// Whether it leads to a web site, and not to a script (`javascript:`) or to nowhere.
fn is_address(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok().filter(|_| url.len() <= MAX_URL);
    let has_scheme = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https"));
    uri.is_some_and(|uri| has_scheme(&uri) && uri.host().is_some_and(|host| !host.is_empty()))
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    // In a form, each byte of the address may be three.
    let body = Limited::new(body.into_boxed_body(), 4 * MAX_URL).collect();
    match body.await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            Err((StatusCode::PAYLOAD_TOO_LARGE, "That is too long.\n"))
        }
        Err(_) => Err((StatusCode::BAD_REQUEST, "The body broke off.\n")),
    }
}

/// The value of a header; empty if there is none.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let value = headers.get(name).and_then(|value| value.to_str().ok());
    value.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::is_address;

    #[test]
    fn a_link_leads_to_a_web_site() {
        for url in [
            "https://example.org",
            "http://[2001:db8::1]:8080/a?b=c",
            "HTTPS://EXAMPLE.ORG/",
        ] {
            assert!(is_address(url), "{url}");
        }
        let long = format!("https://example.org/{}", "x".repeat(2048));
        for url in [
            "",
            "example.org",
            "/a",
            "javascript:alert(1)",
            "ftp://example.org",
            "https://",
            "https:///a",
            "https://a b",
            "https://a\r\nSet-Cookie: x",
            &long,
        ] {
            assert!(!is_address(url), "{url:?}");
        }
    }
}
