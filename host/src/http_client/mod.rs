//! The HTTP client of guests (HTTP/1.1 and HTTP/2): requests to other servers over connections that `wasm-sock-egress`
//! makes and, for `https`, encrypts. What a guest may call was checked before ([`crate::wasi`]).
//!
//! | file | what |
//! |---|---|
//! | [`client`] | what the guests of a handler share |
//! | [`origin`] | where a request goes: scheme, host, port |
//! | [`pool`] | the connections of a handler that wait for their next request, or take several at a time |
//! | [`connect`] | making one, and the task that drives it |
//! | [`exchange`] | one request: waits for room, sends it, tries again when an idle connection was closed meanwhile |
//! | [`upload`], [`download`] | its body and that of the answer: time-outs, limits, and when the connection is free again |
//! | [`io`] | the socket, as hyper reads it |
//! | [`failure`] | what goes wrong, as the error codes of `wasi:http` |
//!
//! # Threads
//!
//! A connection is driven by a task of the thread whose guest opened it, and can be used from any. A guest that was
//! moved to the thread `long-running` keeps the event loop that it came from for its connections: in that thread they
//! would wait for guests that compute. Requests prefer the connections of their own thread, where no other has to be
//! woken.
//!
//! # Memory
//!
//! An answer that a guest does not read stays in the kernel's buffers (HTTP/1.1), or takes [`connect::STREAM_WINDOW`]
//! at most (HTTP/2); the window of an HTTP/2 connection has room for all of its streams, so that none waits because the
//! guest of another does not read.

mod client;
mod connect;
mod download;
mod exchange;
mod failure;
mod io;
mod origin;
mod pool;
#[cfg(test)]
mod tests;
mod upload;

pub use client::{Client, GuestClient, Timeouts};
pub use origin::Origin;
