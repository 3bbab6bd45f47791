//! Reaching out: asks `wasm-sock-egress` for connections and names, on behalf of guests that were granted them.
//!
//! That program resolves names, checks what the handler may reach, connects, speaks TLS, and passes a descriptor. This
//! process makes no socket but one, before its sandbox, which is connected at the first use.

mod client;
mod connected;
mod wire;

pub use client::Egress;
pub use connected::Connected;

pub use wasm_sock_egress_protocol::{Alpn, Ask, Failure, Transport};
