//! Reaching out: asks `wasm-sock-egress` for connections and names, on behalf of guests that were granted them.
//!
//! That program resolves names, checks what the handler may reach, connects, speaks TLS, and passes a descriptor. This
//! process makes no socket but one, before its sandbox, which is connected at the first use.

mod client;
mod wire;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

pub use client::Egress;
pub use wasm_sock_egress_protocol::{Alpn, Answer, Ask, Failure, Transport};

/// A connection that was made for a guest.
#[derive(Debug)]
pub struct Connected {
    /// Non-blocking, close-on-exec. See [`Transport`] for what kind of socket it is.
    pub fd: OwnedFd,
    /// `None`: the server has no address (a Unix socket).
    pub peer: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    /// What the server has chosen, with [`Transport::Https`].
    pub protocol: Option<Alpn>,
}
