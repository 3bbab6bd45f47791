//! The host's own answers (4xx, 5xx) where no guest answers. The client gets the status only; the reason goes to the
//! log.

use super::download::{Download, Source};
use super::exchange::Exchange;
use super::state::ActiveRequest;
use crate::journal::Level;
use crate::runtime::Cause;
use ::http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use ::http::{Response, StatusCode};
use bytes::Bytes;
use std::sync::Arc;
use wasm_sock_stats::Outcome;

/// A request that no guest answers: the status for the client, and the reason for the log.
pub struct Refusal {
    pub status: StatusCode,
    pub level: Level,
    pub cause: Cause,
}

impl Refusal {
    /// A mistake of the client: logged with level info.
    pub fn bad(status: StatusCode, why: impl Into<String>) -> Self {
        Self {
            status,
            level: Level::Info,
            cause: Cause::new(Outcome::BadRequest, why),
        }
    }

    /// A failure of the guest or the host: logged as an error.
    pub fn failed(status: StatusCode, cause: Cause) -> Self {
        Self {
            status,
            level: Level::Error,
            cause,
        }
    }

    /// The response for the client, with `Retry-After` if it may try again. The reason is logged only.
    pub fn respond(self, exchange: Arc<Exchange>, active: ActiveRequest) -> Response<Download> {
        exchange.set_status(self.status);
        exchange.report(self.level, self.cause);
        let text = Bytes::from(text(self.status));
        let mut response = Response::new(Download::new(Source::Text(Some(text)), None, exchange, active));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        if matches!(
            self.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        ) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

fn text(status: StatusCode) -> String {
    format!("{status}\n")
}

/// A complete HTTP/1.1 response, for a client whose incomplete head hyper does not answer.
pub fn over_http1(status: StatusCode) -> String {
    let text = text(status);
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}
