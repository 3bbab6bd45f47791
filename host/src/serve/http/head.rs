//! The head of a request as its guest gets it: scheme, authority, and who sent it.

use super::Session;
use super::respond::Refusal;
use crate::config::ForwardedFor;
use ::http::header::{FORWARDED, HOST, HeaderMap};
use ::http::request::Parts;
use ::http::uri::{Authority, PathAndQuery, Scheme, Uri};
use ::http::{HeaderName, HeaderValue, Method, StatusCode, Version};

impl Session {
    /// Gives a request what guests ask it for: scheme, authority, and who sent it.
    pub fn complete(&self, parts: &mut Parts) -> Result<(), Refusal> {
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
