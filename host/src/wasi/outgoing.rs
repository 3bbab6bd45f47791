//! The HTTP requests that guests make: enforces `allow-outbound` for their URLs and methods.
//!
//! `wasm-sock-egress` decides about the server once more when a connection is made, and about its addresses. Only this
//! host sees methods and paths.

use super::environment::GuestContext;
use crate::config::{OutboundRequest, allows_request};
use crate::egress::Failure;
use crate::http_client::Origin;
use crate::journal::{self, Level, Window};
use crate::sync::lock;
use ::http::uri::PathAndQuery;
use ::http::{Method, Uri};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use wasmtime_wasi_http::Error;

/// The longest URL in the log, in bytes.
const MAX_URL: usize = 200;

/// The guest whose requests these are, for the log; its lines count as those that it writes itself (`max-log`).
#[derive(Clone)]
pub struct Caller {
    pub guest: Arc<GuestContext>,
    pub window: Arc<Mutex<Window>>,
}

impl Caller {
    /// Where a request goes that the guest may make.
    ///
    /// # Errors
    /// When it may not, which is logged with what would allow it.
    pub fn admit(&self, method: &Method, url: &Uri) -> Result<Origin, Error> {
        let origin = Origin::of(url).ok_or(Error::HttpRequestUriInvalid)?;
        let request = OutboundRequest {
            method: method.as_str(),
            tls: origin.is_tls,
            host: &origin.host_in_url(),
            port: origin.port,
            path_and_query: url.path_and_query().map_or("/", PathAndQuery::as_str),
        };
        if allows_request(&self.guest.config.allow_outbound, &request) {
            return Ok(origin);
        }
        let needed = self.short(&request.to_string());
        let message = format_args!("{needed} was refused (allow-outbound = [\"{needed}\"] would allow it)");
        self.log(Level::Warning, message);
        Err(Error::HttpRequestDenied)
    }

    /// Logs why a connection was not made, unless that is the server's matter.
    pub fn report(&self, target: &str, failure: &Failure) {
        let level = match failure {
            Failure::Denied(_) | Failure::Limit => Level::Warning,
            Failure::Internal(_) => Level::Error,
            _ => return,
        };
        self.log(level, format_args!("cannot call {target}: {failure}"));
    }

    /// A URL for the log, without its query, which may have a secret.
    pub fn shown(&self, origin: &Origin, url: &Uri) -> String {
        let (scheme, authority, path) = (origin.scheme(), origin.authority(), url.path());
        self.short(&format!("{scheme}://{authority}{path}"))
    }

    /// A URL for the log, without secrets of the handler, which APIs expect in paths.
    fn short(&self, url: &str) -> String {
        let guest = &self.guest;
        journal::shortened(guest.values.hide(&guest.config, url), MAX_URL)
    }

    fn log(&self, level: Level, message: fmt::Arguments<'_>) {
        if self.guest.log_limit.allows(&mut lock(&self.window), Instant::now()) {
            self.guest.log(level, message);
        }
    }
}
