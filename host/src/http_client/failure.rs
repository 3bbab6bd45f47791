//! What goes wrong with a request, as the error codes of `wasi:http` (RFC 9209).

use crate::egress::Failure;
use std::error::Error as _;
use std::io;
use wasmtime_wasi_http::Error;

/// The error of a guest whose connection was not made.
pub fn of_egress(failure: Failure) -> Error {
    match failure {
        Failure::Denied(_) => Error::HttpRequestDenied,
        Failure::NotFound => Error::DnsError {
            rcode: Some("NXDOMAIN".to_owned()),
            info_code: None,
        },
        Failure::DnsTimeout => Error::DnsTimeout,
        Failure::Dns(why) => Error::DnsError {
            rcode: Some(why),
            info_code: None,
        },
        Failure::Refused => Error::ConnectionRefused,
        Failure::TimedOut => Error::ConnectionTimeout,
        Failure::Unreachable(_) => Error::DestinationIpUnroutable,
        Failure::TlsCertificate(_) => Error::TlsCertificateError,
        Failure::TlsAlert(alert) => Error::TlsAlertReceived {
            alert_id: Some(alert),
            alert_message: None,
        },
        Failure::Tls(_) => Error::TlsProtocolError,
        Failure::Limit => Error::ConnectionLimitReached,
        // It names paths of this machine: for the log, not for the guest.
        Failure::Internal(_) => Error::InternalError(None),
    }
}

/// The error of a request that was sent, or of the body of its answer.
pub fn of_hyper(error: &hyper::Error) -> Error {
    if error.is_parse_too_large() {
        return Error::HttpResponseHeaderSectionSize(None);
    }
    if error.is_incomplete_message() {
        return Error::HttpResponseIncomplete;
    }
    if error.is_parse() || error.is_parse_status() {
        return Error::HttpProtocolError;
    }
    // The guest's own body, which it has not sent as it said.
    if let Some(own) = error.source().and_then(|source| source.downcast_ref::<Error>()) {
        return match own {
            Error::HttpRequestBodySize(size) => Error::HttpRequestBodySize(*size),
            _ => Error::HttpProtocolError,
        };
    }
    if error.is_closed() || error.is_canceled() || error.is_body_write_aborted() || is_io(error) {
        return Error::ConnectionTerminated;
    }
    Error::HttpProtocolError
}

/// Has the connection failed, and not what came over it?
fn is_io(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        let is_io = error.is::<io::Error>() || error.downcast_ref::<h2::Error>().is_some_and(h2::Error::is_io);
        if is_io {
            return true;
        }
        source = error.source();
    }
    false
}
