//! What the parts say, to the byte the same over WASI 0.2 and 0.3: `http-actor3` has this file, too.
//! `HeaderError`, `Method` and `Scheme` are those of the version that the guest around it speaks.

use std::fmt::{Display, Formatter, Result as Written};
use std::hint::spin_loop;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::{HeaderError, Method, Scheme};

pub type Headers = Vec<(String, Vec<u8>)>;

/// The body of an answer that promises another length.
pub const NOT_AS_PROMISED: &[u8] = b"not as promised\n";

pub const CHUNK: usize = 64 * 1024;

/// What `/trailers` announces, and sends after its body.
pub const TRAILER: &str = "x-sum";

/// Headers that are not a guest's to set, and one that is.
pub const ASKED_FOR: [&str; 6] = [
    "connection",
    "host",
    "keep-alive",
    "transfer-encoding",
    "upgrade",
    "x-allowed",
];

/// Splits a request's target into its path, its query as it stands, and that as a number.
pub fn part(target: &str) -> (&str, &str, Option<u64>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    (path, query, query.parse().ok())
}

/// Splits a URL into scheme, authority, and path with query.
pub fn url(url: &str) -> (Scheme, &str, &str) {
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let path = rest.find('/').unwrap_or(rest.len());
    let scheme = match scheme {
        "http" => Scheme::Http,
        "https" => Scheme::Https,
        other => Scheme::Other(other.to_owned()),
    };
    (scheme, &rest[..path], &rest[path..])
}

/// `bytes` bytes, of which the nth is n modulo 251: a prime, so that no power of two of lost or
/// repeated bytes goes unseen.
pub fn big(bytes: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..bytes).step_by(CHUNK).map(move |start| {
        let end = bytes.min(start + CHUNK as u64);
        (start..end).map(|n| (n % 251) as u8).collect()
    })
}

/// How many requests this instance has been asked this.
pub fn counter() -> String {
    static REQUESTS: AtomicU64 = AtomicU64::new(0);
    format!("{}\n", REQUESTS.fetch_add(1, Ordering::Relaxed) + 1)
}

/// The environment, sorted, a variable a line.
pub fn env(mut variables: Vec<(String, String)>) -> String {
    variables.sort();
    let lines = variables.into_iter();
    lines.map(|(name, value)| format!("{name}={value}\n")).collect()
}

/// Headers or trailers, sorted, each a line `name: value`.
pub fn fields(mut fields: Headers) -> String {
    fields.sort();
    let lines = fields.iter();
    lines
        .map(|(name, value)| format!("{name}: {}\n", String::from_utf8_lossy(value)))
        .collect()
}

/// The request line by the names that HTTP/2 has for its parts, then the headers. What the
/// request does not have is left out.
pub fn head(
    method: Method,
    path: Option<String>,
    scheme: Option<Scheme>,
    authority: Option<String>,
    headers: Headers,
) -> String {
    let parts = [
        (":method", Some(method_name(method))),
        (":path", path),
        (":scheme", scheme.map(scheme_name)),
        (":authority", authority),
    ];
    let parts = parts.into_iter();
    let lines: String = parts
        .filter_map(|(name, value)| Some(format!("{name}: {}\n", value?)))
        .collect();
    lines + &fields(headers)
}

fn method_name(method: Method) -> String {
    let name = match method {
        Method::Get => "GET",
        Method::Head => "HEAD",
        Method::Post => "POST",
        Method::Put => "PUT",
        Method::Delete => "DELETE",
        Method::Connect => "CONNECT",
        Method::Options => "OPTIONS",
        Method::Trace => "TRACE",
        Method::Patch => "PATCH",
        Method::Other(name) => return name,
    };
    name.to_owned()
}

fn scheme_name(scheme: Scheme) -> String {
    match scheme {
        Scheme::Http => "http".to_owned(),
        Scheme::Https => "https".to_owned(),
        Scheme::Other(name) => name,
    }
}

/// `count` headers, `x-0: 0` and so on.
pub fn headers(count: u64) -> impl Iterator<Item = (String, Vec<u8>)> {
    (0..count).map(|n| (format!("x-{n}"), n.to_string().into_bytes()))
}

/// Whether a header could be set.
pub fn verdict(result: Result<(), HeaderError>) -> &'static str {
    match result {
        Ok(()) => "allowed",
        Err(HeaderError::Forbidden) => "forbidden",
        Err(_) => "refused",
    }
}

/// Uses the processor without ever calling out of the sandbox.
pub fn spin() -> ! {
    loop {
        spin_loop();
    }
}

/// Prints numbered lines, which nobody reads but the log, for as long as it may live.
pub fn log_flood() -> ! {
    let mut number = 0_u64;
    loop {
        println!("flood {number}");
        number += 1;
    }
}

/// How many bytes there were, and their FNV-1a hash of 64 bits as 16 hexadecimal digits.
pub struct Sum {
    bytes: u64,
    hash: u64,
}

impl Sum {
    pub fn new() -> Self {
        Self {
            bytes: 0,
            hash: 0xcbf2_9ce4_8422_2325,
        }
    }

    pub fn add(&mut self, chunk: &[u8]) {
        self.bytes += chunk.len() as u64;
        self.hash = chunk.iter().fold(self.hash, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    }
}

impl Display for Sum {
    fn fmt(&self, out: &mut Formatter<'_>) -> Written {
        write!(out, "{} {:016x}", self.bytes, self.hash)
    }
}
