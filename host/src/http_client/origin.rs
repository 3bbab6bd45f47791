//! Where a request goes (RFC 6454): scheme, host and port.

use ::http::uri::{Authority, PathAndQuery, Scheme};
use ::http::{HeaderValue, Uri};
use std::borrow::Cow;
use std::net::IpAddr;

/// The server of a URL. Requests share connections only if all of it is the same: a certificate that is good for
/// other names as well changes nothing about that.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    pub is_tls: bool,
    /// In lower case, without brackets and a final dot.
    pub host: String,
    pub port: u16,
}

impl Origin {
    /// The origin of an absolute URL. `None`: it has none, a scheme other than `http` and `https`, or a user's name,
    /// which would be sent to the server as a part of `Host`.
    pub fn of(uri: &Uri) -> Option<Self> {
        let is_tls = match uri.scheme()? {
            scheme if *scheme == Scheme::HTTPS => true,
            scheme if *scheme == Scheme::HTTP => false,
            _ => return None,
        };
        let authority = uri.authority()?.as_str();
        // Not `Authority::port`, which takes "a:" and "a:99999" for no port.
        let (host, port) = match authority.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']')?;
                let is_address = matches!(host.parse(), Ok(IpAddr::V6(_)));
                (
                    is_address.then_some(host)?,
                    rest.strip_prefix(':').or(rest.is_empty().then_some("")),
                )
            }
            None => match authority.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, Some("")),
            },
        };
        let port = match port? {
            "" => default_port(is_tls),
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok()?,
            _ => return None,
        };
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        let is_valid = !host.is_empty() && host.bytes().all(is_name) && port != 0;
        is_valid.then_some(Self { is_tls, host, port })
    }

    pub fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// The host as in URLs: an IPv6 address is in brackets.
    pub fn host_in_url(&self) -> Cow<'_, str> {
        match self.host.contains(':') {
            true => format!("[{}]", self.host).into(),
            false => self.host.as_str().into(),
        }
    }

    /// The authority as it is sent (`Host`, `:authority`): of what was checked, not what the guest wrote.
    pub fn authority(&self) -> Cow<'_, str> {
        match self.port == default_port(self.is_tls) {
            true => self.host_in_url(),
            false => format!("{}:{}", self.host_in_url(), self.port).into(),
        }
    }

    /// The value of `Host`.
    pub(super) fn host_header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(&*self.authority()).ok()
    }

    /// The URL of `path` at this origin, for HTTP/2.
    pub(super) fn url(&self, path: PathAndQuery) -> Option<Uri> {
        let mut parts = ::http::uri::Parts::default();
        parts.scheme = Some(if self.is_tls { Scheme::HTTPS } else { Scheme::HTTP });
        parts.authority = Some(Authority::try_from(&*self.authority()).ok()?);
        parts.path_and_query = Some(path);
        Uri::from_parts(parts).ok()
    }
}

const fn default_port(is_tls: bool) -> u16 {
    if is_tls { 443 } else { 80 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(url: &str) -> Option<Origin> {
        Origin::of(&url.parse().ok()?)
    }

    #[test]
    fn what_is_sent_is_what_was_checked() {
        for (url, is_tls, host, port, authority) in [
            (
                "https://API.Example.org/v1",
                true,
                "api.example.org",
                443,
                "api.example.org",
            ),
            ("https://example.org:443/", true, "example.org", 443, "example.org"),
            ("https://example.org./", true, "example.org", 443, "example.org"),
            ("http://example.org:443/", false, "example.org", 443, "example.org:443"),
            ("http://192.0.2.1:8080/", false, "192.0.2.1", 8080, "192.0.2.1:8080"),
            ("http://[2001:DB8::1]/", false, "2001:db8::1", 80, "[2001:db8::1]"),
            ("https://[2001:db8::1]:80/", true, "2001:db8::1", 80, "[2001:db8::1]:80"),
            ("http://example.org:/", false, "example.org", 80, "example.org"),
        ] {
            let host = host.to_owned();
            let origin = Origin { is_tls, host, port };
            assert_eq!(of(url), Some(origin.clone()), "{url}");
            assert_eq!(origin.authority(), authority, "{url}");
        }
    }

    #[test]
    fn what_has_no_clear_origin_has_none() {
        for url in [
            "/path",
            "example.org:80",
            "ftp://example.org/",
            "https://user@example.org/",
            "https://user:443@example.org/",
            "https://example.org:0/",
            "https://example.org:99999/",
            "https://example.org:-1/",
            "https://example.org:44 3/",
            "https://[::1/",
            "https://[::1]x/",
            "https://[127.0.0.1]/",
            "https://a:b:c/",
            "https://./",
        ] {
            assert_eq!(of(url), None, "{url}");
        }
    }
}
