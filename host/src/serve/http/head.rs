//! Completes the head of a request for its guest: absolute URI (scheme, authority), and the forwarding headers of
//! reverse proxies (`X-Forwarded-For`, `Forwarded`), which are removed, replaced or trusted (`forwarded-for`).

use super::respond::Refusal;
use crate::config::ForwardedFor;
use ::http::header::{FORWARDED, HOST, HeaderMap};
use ::http::request::Parts;
use ::http::uri::{Authority, PathAndQuery, Scheme, Uri};
use ::http::{HeaderName, HeaderValue, Method, StatusCode, Version};
use std::net::IpAddr;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Makes the URI of a request absolute, and sets or removes its forwarding headers. `address` is the client's.
///
/// # Errors
/// A request that is not given to guests: CONNECT, or one whose host is unknown or ambiguous.
pub fn complete(parts: &mut Parts, mode: ForwardedFor, address: Option<IpAddr>) -> Result<(), Refusal> {
    let bad = |why: &str| Refusal::bad(StatusCode::BAD_REQUEST, why);
    if parts.method == Method::CONNECT {
        let why = "CONNECT is not supported";
        return Err(Refusal::bad(StatusCode::METHOD_NOT_ALLOWED, why));
    }
    let authority = authority(parts).map_err(bad)?;
    let scheme = match mode == ForwardedFor::Trust && came_by_https(&parts.headers) {
        true => Scheme::HTTPS,
        false => Scheme::HTTP,
    };
    set_forwarded(mode, &mut parts.headers, &authority, address);
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.scheme = Some(scheme);
    uri.authority = Some(authority);
    uri.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
    parts.uri = Uri::from_parts(uri).map_err(|_| bad("its target is not a path"))?;
    Ok(())
}

/// The host that a request is for (RFC 9112, 3.2).
///
/// # Errors
/// Why it is not known.
fn authority(parts: &Parts) -> Result<Authority, &'static str> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (parts.uri.authority(), hosts.next(), hosts.next()) {
        (_, _, Some(_)) => Err("it has several Host headers"),
        (Some(authority), ..) => Ok(authority.clone()),
        (None, Some(host), None) => Authority::try_from(host.as_bytes()).map_err(|_| "its Host header is not a host"),
        (None, None, None) if parts.version <= Version::HTTP_10 => Ok(Authority::from_static("localhost")),
        (None, None, None) => Err("it has no Host header"),
    }
}

/// Makes the forwarding headers trustworthy: removes what the client claims, unless it is a trusted proxy, and sets
/// what the host knows, if it is configured so.
fn set_forwarded(mode: ForwardedFor, headers: &mut HeaderMap, authority: &Authority, address: Option<IpAddr>) {
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
    if let Some(address) = address
        && let Ok(value) = HeaderValue::try_from(address.to_string())
    {
        headers.insert(X_FORWARDED_FOR, value);
    }
    if let Ok(value) = HeaderValue::from_str(authority.as_str()) {
        headers.insert(X_FORWARDED_HOST, value);
    }
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
}

/// Do the forwarding headers say that the client used HTTPS? With several proxies, the entry of the first counts.
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

#[cfg(test)]
mod tests {
    use super::*;
    use ::http::Request;

    /// A request with these headers, completed; or why it is refused.
    fn completed(target: &str, headers: &[(&str, &str)], mode: ForwardedFor) -> Result<Parts, String> {
        let mut request = Request::builder().uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let address = "192.0.2.60".parse().unwrap();
        match complete(&mut parts, mode, Some(address)) {
            Ok(()) => Ok(parts),
            Err(refusal) => Err(refusal.cause.why),
        }
    }

    #[test]
    fn a_guest_gets_an_absolute_uri() {
        let parts = completed("/a?b", &[("host", "example.org:8080")], ForwardedFor::Off).unwrap();
        assert_eq!(parts.uri, "http://example.org:8080/a?b");
    }

    #[test]
    fn a_request_without_one_clear_host_is_refused() {
        let refused = |headers: &[(&str, &str)]| completed("/", headers, ForwardedFor::Off).err();
        assert_eq!(refused(&[]).as_deref(), Some("it has no Host header"));
        let two = [("host", "a"), ("host", "b")];
        assert_eq!(refused(&two).as_deref(), Some("it has several Host headers"));
        assert_eq!(
            refused(&[("host", "a b")]).as_deref(),
            Some("its Host header is not a host")
        );
    }

    #[test]
    fn what_a_client_claims_of_its_origin_is_removed_or_replaced_unless_trusted() {
        let claims = [
            ("host", "example.org"),
            ("x-forwarded-for", "203.0.113.1"),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=203.0.113.1"),
            ("x-real-ip", "203.0.113.1"),
        ];
        let of = |mode| completed("/", &claims, mode).unwrap();
        let off = of(ForwardedFor::Off);
        assert_eq!(off.headers.len(), 1);
        let set = of(ForwardedFor::Set);
        assert_eq!(set.headers[X_FORWARDED_FOR], "192.0.2.60");
        assert_eq!(set.headers[X_FORWARDED_HOST], "example.org");
        assert_eq!(set.headers[X_FORWARDED_PROTO], "http");
        assert_eq!((set.headers.len(), set.uri.scheme_str()), (4, Some("http")));
        let trusted = of(ForwardedFor::Trust);
        assert_eq!((trusted.headers.len(), trusted.uri.scheme_str()), (5, Some("https")));
    }

    #[test]
    fn the_first_of_several_proxies_knows_the_scheme() {
        let is_https = |name: &'static str, value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            came_by_https(&headers)
        };
        assert!(is_https("x-forwarded-proto", "https, http"));
        assert!(!is_https("x-forwarded-proto", "http, https"));
        assert!(is_https("forwarded", "for=192.0.2.60;Proto=\"HTTPS\", proto=http"));
        assert!(is_https("forwarded", "by=\"a,b;proto=http\\\"\";proto=https"));
        assert!(!is_https("forwarded", "for=192.0.2.60, proto=https"));
        assert!(!is_https("forwarded", ""));
    }
}
