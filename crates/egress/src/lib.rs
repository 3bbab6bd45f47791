//! The messages between a host and `wasm-sock-egress`: packets on a Unix socket (`SOCK_SEQPACKET`, `unix(7)`), encoded
//! with `postcard`, one in each packet.
//!
//! The host sends [`Request`]s, as many as it likes at a time. Each gets one [`Reply`] with its number, in the order in
//! which they are done. With [`Answer::Connected`] comes one descriptor (`SCM_RIGHTS`).

mod place;

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use thiserror::Error;

pub use place::{VARIABLE, socket_path};

/// The largest message, in bytes. What is longer is not sent: a handler's name has at most 255 bytes, a host's name
/// 253; texts are cut to [`MAX_TEXT`].
pub const MAX_MESSAGE: usize = 8 * 1024;

/// The longest text in a [`Failure`], in bytes.
pub const MAX_TEXT: usize = 1024;

/// The first byte of a packet on the socket of [`Transport::Udp`]: a datagram follows.
pub const DATAGRAM: u8 = 0;

/// The same, alone in its packet: the peer refused a datagram (ICMP, `ECONNREFUSED` of `udp(7)`).
pub const REFUSED: u8 = 1;

/// What a host asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the host; the reply has it, too.
    pub id: u32,
    /// The handler whose guest it is for, and whose grants apply.
    pub handler: String,
    pub ask: Ask,
    /// How long it may take from the arrival of the request to the reply, in milliseconds.
    pub timeout_ms: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// A connection to this host and port.
    Connect {
        /// A name, or an address without brackets.
        host: String,
        port: u16,
        transport: Transport,
    },
    /// The addresses of a name that the handler may look up.
    Resolve { name: String },
    /// A connection to the server of the handler's `keyvalue.NAME`.
    Store { name: String },
}

/// What a connection is for. Grants of URLs are for [`Http`](Self::Http) and [`Https`](Self::Https) only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Transport {
    Tcp,
    /// The descriptor is a Unix socket of packets. Each is [`DATAGRAM`] followed by a datagram to or from the one peer,
    /// or [`REFUSED`]. It is not the UDP socket, by which a process can send to any address (sendto(2)).
    Udp,
    Http,
    /// TLS with ALPN (h2, http/1.1). The descriptor is a Unix stream socket with the plain bytes.
    Https,
    /// TLS without ALPN.
    Tls,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    pub id: u32,
    pub result: Result<Answer, Failure>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Comes with the descriptor.
    Connected {
        /// The address that was connected to; `None`: it has none (a Unix socket).
        peer: Option<SocketAddr>,
        /// The address that it was connected from.
        local: Option<SocketAddr>,
        /// What the server has chosen by ALPN; `None`: it does not know ALPN.
        protocol: Option<Alpn>,
    },
    /// At least one.
    Addresses(Vec<IpAddr>),
}

/// The protocols that are offered by ALPN (RFC 7301) for [`Transport::Https`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Alpn {
    /// `http/1.1`
    H1,
    /// `h2`
    H2,
}

/// Why there is no connection, or no address.
#[derive(Debug, Clone, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Failure {
    /// No grant allows it. With what would: `allow-outbound = ["…"] would allow it`.
    #[error("not allowed: {0}")]
    Denied(String),
    /// The name does not exist, or has no address.
    #[error("the name has no address")]
    NotFound,
    #[error("no name server answered in time")]
    DnsTimeout,
    /// A name server refuses, or fails.
    #[error("the name cannot be resolved: {0}")]
    Dns(String),
    #[error("connection refused")]
    Refused,
    /// There was no connection within the time-out of the request.
    #[error("timed out")]
    TimedOut,
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The server's certificate is of another name, of an unknown authority, or not valid any more.
    #[error("the server's certificate is refused: {0}")]
    TlsCertificate(String),
    /// The server ended the handshake with this alert (RFC 8446, section 6).
    #[error("the server refused the TLS handshake (alert {0})")]
    TlsAlert(u8),
    #[error("TLS: {0}")]
    Tls(String),
    /// The handler has as many connections, or requests, as it may have at a time; or the host has no descriptor left.
    #[error("too many connections")]
    Limit,
    /// It is not the fault of the guest, nor of the server.
    #[error("{0}")]
    Internal(String),
}

/// A message does not fit into a packet, or is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("not a message of this version of wasm-sock (restart wasm-sock-egress.service)")]
pub struct Malformed;

/// The bytes of a message.
///
/// # Errors
/// When it is larger than [`MAX_MESSAGE`].
pub fn encode(message: &impl Serialize) -> Result<Vec<u8>, Malformed> {
    match postcard::to_extend(message, Vec::new()) {
        Ok(bytes) if bytes.len() <= MAX_MESSAGE => Ok(bytes),
        _ => Err(Malformed),
    }
}

/// The message of a packet.
///
/// # Errors
/// When it is none.
pub fn decode<'a, Message: Deserialize<'a>>(bytes: &'a [u8]) -> Result<Message, Malformed> {
    postcard::from_bytes(bytes).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_was_sent() {
        let request = Request {
            id: 7,
            handler: "bot".into(),
            ask: Ask::Connect {
                host: "api.example.org".into(),
                port: 443,
                transport: Transport::Https,
            },
            timeout_ms: 10_000,
        };
        assert_eq!(decode(&encode(&request).expect("small")), Ok(request));
        let answer = Answer::Connected {
            peer: Some("[2001:db8::1]:443".parse().expect("an address")),
            local: None,
            protocol: Some(Alpn::H2),
        };
        for result in [Ok(answer), Err(Failure::TlsAlert(40)), Err(Failure::Denied("x".into()))] {
            let reply = Reply { id: 1, result };
            assert_eq!(decode(&encode(&reply).expect("small")), Ok(reply));
        }
    }

    #[test]
    fn what_is_no_message_or_too_large_is_an_error() {
        assert_eq!(decode::<Request>(&[0xff; 40]), Err(Malformed));
        assert_eq!(decode::<Reply>(&[]), Err(Malformed));
        let ask = Ask::Resolve {
            name: "a".repeat(MAX_MESSAGE),
        };
        let request = Request {
            id: 0,
            handler: String::new(),
            ask,
            timeout_ms: 0,
        };
        assert_eq!(encode(&request), Err(Malformed));
    }
}
