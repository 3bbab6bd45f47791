//! URLs in `allow-outbound`: `GET,POST https://api.example.org/v1/*`.

use super::{Destination, Outbound, Scope};
use std::fmt::{Formatter, Result};
use std::ops::RangeInclusive;

/// Which requests a guest may send to a host: `METHODS SCHEME://HOST:PORT/PATH`. Without methods, it is any; without a
/// port, that of the scheme; without a path, any. A path that ends with `*` is any that begins so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UrlGrant {
    /// `https`, and not `http`.
    pub tls: bool,
    /// In upper case. Empty: any.
    pub methods: Vec<String>,
    /// Begins with `/`; empty: any. Without the `*`.
    path: String,
    /// Are paths allowed that begin so?
    is_prefix: bool,
}

/// The port of a scheme.
fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

pub(super) fn parse(text: &str) -> Option<Outbound> {
    let (methods, url) = match text.split_once(' ') {
        Some((methods, url)) => (methods.split(',').map(method).collect::<Option<_>>()?, url.trim_start()),
        None => (Vec::new(), text),
    };
    let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (_, Some(rest)) => (false, rest),
        _ => return None,
    };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let (path, is_prefix) = match path.strip_suffix('*') {
        Some(start) => (start, true),
        None => (path, path.is_empty()),
    };
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !b"*?#\\".contains(&byte);
    if !path.bytes().all(is_plain) || climbs(path) {
        return None;
    }
    let (host, port) = authority_parts(authority)?;
    Some(Outbound {
        scope: Scope::Url(UrlGrant {
            tls,
            methods,
            path: path.to_owned(),
            is_prefix,
        }),
        host: Destination::parse(host)?,
        ports: match port {
            Some(port) => vec![port..=port],
            None => vec![default_port(tls)..=default_port(tls)],
        },
    })
}

/// A method (RFC 9110, section 9.1) in upper case, as all that are registered; methods are case-sensitive.
fn method(text: &str) -> Option<String> {
    let is_method = |byte: u8| byte.is_ascii_uppercase() || byte == b'-';
    (!text.is_empty() && text.bytes().all(is_method)).then(|| text.to_owned())
}

/// Host, still in brackets, and port. No user: a password would be in the configuration of every host.
fn authority_parts(text: &str) -> Option<(&str, Option<u16>)> {
    let end = text.rfind(']').unwrap_or_default();
    match text[end..].rfind(':') {
        Some(colon) => {
            let (host, port) = text.split_at(end + colon);
            let port: u16 = port[1..].parse().ok()?;
            (port > 0).then_some((host, Some(port)))
        }
        None => Some((text, None)),
    }
}

impl UrlGrant {
    /// Does it allow this method and this path? The path is as in the request, with or without its query. A path that
    /// climbs (`/v1/../admin`), also in one of the ways that servers understand beside the standard, is allowed only
    /// where any path is.
    pub fn allows(&self, method: &str, path_and_query: &str) -> bool {
        let is_method = self.methods.is_empty() || self.methods.iter().any(|allowed| allowed == method);
        let path = path_and_query.split(['?', '#']).next().unwrap_or_default();
        // An empty path is sent as `/`.
        let path = if path.is_empty() { "/" } else { path };
        let is_path = match self.is_prefix {
            true if matches!(self.path.as_str(), "" | "/") => true,
            true => path.starts_with(&self.path) && !climbs(path),
            false => path == self.path,
        };
        is_method && is_path
    }

    pub(super) fn write(&self, host: &Destination, ports: &[RangeInclusive<u16>], f: &mut Formatter<'_>) -> Result {
        if !self.methods.is_empty() {
            write!(f, "{} ", self.methods.join(","))?;
        }
        write!(f, "{}://{host}", if self.tls { "https" } else { "http" })?;
        if let Some(port) = ports.first().map(RangeInclusive::start)
            && *port != default_port(self.tls)
        {
            write!(f, ":{port}")?;
        }
        let star = if self.is_prefix && !self.path.is_empty() {
            "*"
        } else {
            ""
        };
        write!(f, "{}{star}", self.path)
    }
}

/// Does a server possibly take a segment of this path for `.` or `..`? Beside RFC 3986 (section 5.2.4): percent-encoded,
/// once or several times; with a backslash as separator; with parameters (`/..;x=y/`, as servlets).
fn climbs(path: &str) -> bool {
    let mut path = path.as_bytes().to_vec();
    loop {
        let is_dots = |segment: &[u8]| {
            let name = segment.split(|byte| *byte == b';').next().unwrap_or_default();
            matches!(name, b"." | b"..")
        };
        if path.split(|byte| matches!(byte, b'/' | b'\\')).any(is_dots) {
            return true;
        }
        // Each round makes it shorter, or is the last one.
        let decoded = decoded(&path);
        if decoded.len() == path.len() {
            return false;
        }
        path = decoded;
    }
}

/// Percent-decoded once (RFC 3986, section 2.1). What is not such an escape stays.
fn decoded(path: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut result = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, after)) = rest.split_first() {
        match after {
            [high, low, end @ ..] if *first == b'%' => match (digit(high), digit(low)) {
                (Some(high), Some(low)) => {
                    result.push((high * 16 + low) as u8);
                    rest = end;
                }
                _ => {
                    result.push(*first);
                    rest = after;
                }
            },
            _ => {
                result.push(*first);
                rest = after;
            }
        }
    }
    result
}
