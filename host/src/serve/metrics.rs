//! The socket named `metrics`: the host itself answers with the counters of all handlers, as OpenMetrics over HTTP. No
//! guest is involved, and the host does not stay awake for it.

use super::stream::{ResetOnDrop, linger};
use crate::journal::{self, Level};
use crate::net::Connection;
use crate::startup;
use ::http::StatusCode;
use httparse::{EMPTY_HEADER, Request, Status};
use std::io;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use wasm_sock_stats::{Format, read_all, render};

/// The name of the socket.
pub const NAME: &str = startup::METRICS;

/// How long a client may take for its request and for reading the answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The largest head of a request, in bytes, and the most fields in it.
const MAX_HEAD: usize = 8 * 1024;
const MAX_FIELDS: usize = 64;

/// Answers one request, and closes the connection: until the next one, the host may be asleep.
pub async fn serve(connection: &Connection, guard: ResetOnDrop<'_>) {
    let answered = timeout(TIMEOUT, async {
        let Some((status, answer)) = answer(connection).await? else {
            return Ok(false);
        };
        let head = head(status, &answer);
        connection.send(head.as_bytes()).await?;
        if answer.has_body {
            connection.send(answer.text.as_bytes()).await?;
        }
        io::Result::Ok(true)
    });
    if let Ok(Ok(true)) = answered.await {
        guard.disarm();
        linger(connection).await;
    }
}

/// What is sent after the status.
struct Answer {
    media_type: &'static str,
    text: String,
    /// `HEAD` gets no body.
    has_body: bool,
}

impl Answer {
    fn new(media_type: &'static str, text: String) -> Self {
        Self {
            media_type,
            text,
            has_body: true,
        }
    }
}

/// Reads a request. `None`: the client left before it was complete.
async fn answer(connection: &Connection) -> io::Result<Option<(StatusCode, Answer)>> {
    let mut head = vec![0; MAX_HEAD];
    let mut length = 0;
    loop {
        let count = connection.recv(&mut head[length..]).await?;
        length += count;
        match asked(&head[..length]) {
            Asked::Counters { format, has_body } => {
                let (status, answer) = counters(format).await;
                return Ok(Some((status, Answer { has_body, ..answer })));
            }
            Asked::Nothing(status) => return Ok(Some((status, refusal(status)))),
            Asked::Incomplete if length == MAX_HEAD => {
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                return Ok(Some((status, refusal(status))));
            }
            Asked::Incomplete if count == 0 => return Ok(None),
            Asked::Incomplete => {}
        }
    }
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
enum Asked {
    Counters {
        format: Format,
        has_body: bool,
    },
    /// Nothing that is here.
    Nothing(StatusCode),
    /// Its head has not arrived completely.
    Incomplete,
}

fn asked(head: &[u8]) -> Asked {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut request = Request::new(&mut fields);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) => return Asked::Incomplete,
        Err(_) => return Asked::Nothing(StatusCode::BAD_REQUEST),
    }
    let target = request.path.unwrap_or_default();
    let path = target.split_once('?').map_or(target, |(path, _)| path);
    let method = request.method.unwrap_or_default();
    match (path, method) {
        ("/" | "/metrics", "GET" | "HEAD") => Asked::Counters {
            format: format(request.headers),
            has_body: method == "GET",
        },
        ("/" | "/metrics", _) => Asked::Nothing(StatusCode::METHOD_NOT_ALLOWED),
        _ => Asked::Nothing(StatusCode::NOT_FOUND),
    }
}

/// OpenMetrics, if the client accepts it (`Accept`, RFC 9110, 12.5.1); else the text format, which all read. A client
/// that accepts both prefers OpenMetrics, as Prometheus does.
fn format(fields: &[httparse::Header<'_>]) -> Format {
    let accepts = |field: &&httparse::Header<'_>| field.name.eq_ignore_ascii_case("accept");
    let accepted = fields.iter().filter(accepts);
    let values = accepted.filter_map(|field| std::str::from_utf8(field.value).ok());
    let is_openmetrics = |range: &str| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let is_refused = |part: &str| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0));
        kind.eq_ignore_ascii_case("application/openmetrics-text") && !parts.any(is_refused)
    };
    match values.flat_map(|value| value.split(',')).any(is_openmetrics) {
        true => Format::OpenMetrics,
        false => Format::Prometheus,
    }
}

/// Reads the counters, in another thread: a thousand files take some milliseconds.
async fn counters(format: Format) -> (StatusCode, Answer) {
    let read = spawn_blocking(move || {
        let directory = startup::stats_directory().ok_or(io::ErrorKind::NotFound)?;
        let handlers = read_all(&directory)?;
        io::Result::Ok(render(&handlers, env!("CARGO_PKG_VERSION"), format))
    });
    match read.await.map_err(io::Error::other).and_then(|read| read) {
        Ok(text) => (StatusCode::OK, Answer::new(format.media_type(), text)),
        Err(error) => {
            let message = format_args!("the counters cannot be read: {error} (see RuntimeDirectory= in the service)");
            journal::log_handler(Level::Warning, NAME, message);
            let status = StatusCode::SERVICE_UNAVAILABLE;
            (status, refusal(status))
        }
    }
}

fn refusal(status: StatusCode) -> Answer {
    Answer::new("text/plain", format!("{status}\n"))
}

fn head(status: StatusCode, answer: &Answer) -> String {
    let allow = match status {
        StatusCode::METHOD_NOT_ALLOWED => "Allow: GET, HEAD\r\n",
        _ => "",
    };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
        answer.media_type,
        answer.text.len()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counters(format: Format, has_body: bool) -> Asked {
        Asked::Counters { format, has_body }
    }

    #[test]
    fn the_format_is_what_the_client_accepts() {
        let with = |accept: &str| asked(format!("GET /metrics HTTP/1.1\r\nHost: a\r\n{accept}\r\n").as_bytes());
        for (accept, format) in [
            ("", Format::Prometheus),
            ("Accept: */*\r\n", Format::Prometheus),
            ("Accept: text/plain;version=0.0.4\r\n", Format::Prometheus),
            (
                "accept: application/openmetrics-text;version=1.0.0;q=0.5,*/*;q=0.1\r\n",
                Format::OpenMetrics,
            ),
            (
                "Accept: text/html, application/openmetrics-text; version=0.0.1\r\n",
                Format::OpenMetrics,
            ),
            ("Accept: application/openmetrics-text;q=0\r\n", Format::Prometheus),
            ("Accept: application/openmetrics-textual\r\n", Format::Prometheus),
        ] {
            assert_eq!(with(accept), counters(format, true), "{accept}");
        }
    }

    #[test]
    fn nothing_but_the_counters_is_there() {
        for (line, expected) in [
            ("HEAD / HTTP/1.0", counters(Format::Prometheus, false)),
            ("GET /metrics?x=y HTTP/1.1", counters(Format::Prometheus, true)),
            ("POST /metrics HTTP/1.1", Asked::Nothing(StatusCode::METHOD_NOT_ALLOWED)),
            ("GET /metrics/ HTTP/1.1", Asked::Nothing(StatusCode::NOT_FOUND)),
            ("GET /../etc/passwd HTTP/1.1", Asked::Nothing(StatusCode::NOT_FOUND)),
            ("\x16\x03\x01", Asked::Nothing(StatusCode::BAD_REQUEST)),
            ("GET /metrics", Asked::Nothing(StatusCode::BAD_REQUEST)),
        ] {
            assert_eq!(asked(format!("{line}\r\n\r\n").as_bytes()), expected, "{line:?}");
        }
        assert_eq!(asked(b"GET /metrics HTTP/1.1\r\nHost"), Asked::Incomplete);
    }
}
