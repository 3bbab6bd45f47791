//! What a request for a connection yields.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use wasm_sock_egress_protocol::Alpn;

/// A connection that was made for a guest.
#[derive(Debug)]
pub struct Connected {
    /// Non-blocking, close-on-exec. See [`Transport`](super::Transport) for what kind of socket it is.
    pub fd: OwnedFd,
    /// `None`: the server has no address (a Unix socket).
    pub peer: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    /// What the server has chosen, with [`Transport::Https`](super::Transport::Https).
    pub protocol: Option<Alpn>,
}
