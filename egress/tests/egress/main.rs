//! `wasm-sock-egress` as hosts use it.

mod client;
mod limits;
mod policy;
mod process;
mod servers;
mod tls;
mod transports;
