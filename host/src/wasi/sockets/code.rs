//! Error codes of sockets.

use super::bindings::p3::wasi::sockets::types::ErrorCode as Code3;
use crate::egress::Failure;
use std::io;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;

pub type Result<T> = std::result::Result<T, ErrorCode>;

/// The code for a guest whose connection fails so.
pub fn of_failure(failure: &Failure) -> ErrorCode {
    match failure {
        Failure::Denied(_) => ErrorCode::AccessDenied,
        Failure::Refused => ErrorCode::ConnectionRefused,
        Failure::TimedOut => ErrorCode::Timeout,
        Failure::Limit => ErrorCode::NewSocketLimit,
        Failure::NotFound => ErrorCode::NameUnresolvable,
        Failure::DnsTimeout => ErrorCode::TemporaryResolverFailure,
        Failure::Dns(_) => ErrorCode::PermanentResolverFailure,
        Failure::Unreachable(_) => ErrorCode::RemoteUnreachable,
        _ => ErrorCode::Unknown,
    }
}

/// The code for an error of a system call.
pub fn of_error(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::ConnectionReset => ErrorCode::ConnectionReset,
        io::ErrorKind::ConnectionAborted => ErrorCode::ConnectionAborted,
        io::ErrorKind::ConnectionRefused => ErrorCode::ConnectionRefused,
        io::ErrorKind::TimedOut => ErrorCode::Timeout,
        io::ErrorKind::InvalidInput => ErrorCode::InvalidArgument,
        io::ErrorKind::WouldBlock => ErrorCode::WouldBlock,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => ErrorCode::RemoteUnreachable,
        _ if error.raw_os_error() == Some(libc::EMSGSIZE) => ErrorCode::DatagramTooLarge,
        _ => ErrorCode::Unknown,
    }
}

/// The same in WASI 0.3.
pub fn p3(code: ErrorCode) -> Code3 {
    match code {
        ErrorCode::AccessDenied => Code3::AccessDenied,
        ErrorCode::NotSupported => Code3::NotSupported,
        ErrorCode::InvalidArgument => Code3::InvalidArgument,
        ErrorCode::OutOfMemory => Code3::OutOfMemory,
        ErrorCode::Timeout => Code3::Timeout,
        ErrorCode::InvalidState => Code3::InvalidState,
        ErrorCode::AddressNotBindable => Code3::AddressNotBindable,
        ErrorCode::AddressInUse => Code3::AddressInUse,
        ErrorCode::RemoteUnreachable => Code3::RemoteUnreachable,
        ErrorCode::ConnectionRefused => Code3::ConnectionRefused,
        ErrorCode::ConnectionReset => Code3::ConnectionReset,
        ErrorCode::ConnectionAborted => Code3::ConnectionAborted,
        ErrorCode::DatagramTooLarge => Code3::DatagramTooLarge,
        ErrorCode::NewSocketLimit => Code3::Other(Some("too many sockets".to_owned())),
        _ => Code3::Other(None),
    }
}
