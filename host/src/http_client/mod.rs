//! The HTTP client of guests (HTTP/1.1 and HTTP/2): requests to other servers over connections that `wasm-sock-egress`
//! makes and, for `https`, encrypts. What a guest may call was checked before ([`crate::wasi`]).
//!
//! | file | what |
//! |---|---|
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

mod connect;
mod download;
mod exchange;
mod failure;
mod io;
mod origin;
mod pool;

mod upload;

use crate::config::OutboundLimits;
use crate::egress::Egress;
use pool::Pool;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

#[cfg(test)]
mod tests;

pub use origin::Origin;

/// Requests that wait for one of `max-requests`, beyond which more are refused: each takes some memory of the host.
const MOST_WAITING: u32 = 1024;

/// The client of one handler: its guests share connections and limits.
pub struct Client {
    handler: Arc<str>,
    limits: OutboundLimits,
    egress: Arc<Egress>,
    pool: Arc<Pool>,
    /// One permit for each request that may be under way.
    permits: Arc<Semaphore>,
    /// Requests that wait for one.
    waiting: AtomicU32,
}

/// The client as one guest uses it.
#[derive(Clone)]
pub struct GuestClient {
    client: Arc<Client>,
    /// The event loop of the thread that the guest began in.
    home: Handle,
}

/// What a guest asks for; it can only shorten what the configuration says.
#[derive(Debug, Clone, Copy, Default)]
pub struct Timeouts {
    pub connect: Option<Duration>,
    pub first_byte: Option<Duration>,
    pub between_bytes: Option<Duration>,
}

impl Client {
    pub fn new(handler: Arc<str>, limits: OutboundLimits, egress: Arc<Egress>) -> Arc<Self> {
        let most = (limits.max_requests as usize).min(Semaphore::MAX_PERMITS);
        Arc::new(Self {
            handler,
            limits,
            egress,
            pool: Pool::new(most),
            permits: Arc::new(Semaphore::new(most)),
            waiting: AtomicU32::new(0),
        })
    }

    /// For a guest that begins in this thread.
    pub fn for_guest(self: &Arc<Self>) -> GuestClient {
        GuestClient {
            client: self.clone(),
            home: Handle::current(),
        }
    }

    /// The time-outs of a request for which its guest asks for these.
    fn timeouts(&self, asked: Timeouts) -> Timeouts {
        let shorter = |asked: Option<Duration>, most: Option<Duration>| match (asked, most) {
            (Some(asked), Some(most)) => Some(asked.min(most)),
            (asked, most) => asked.or(most),
        };
        Timeouts {
            connect: shorter(asked.connect, self.limits.connect_timeout),
            first_byte: shorter(asked.first_byte, self.limits.first_byte_timeout),
            between_bytes: shorter(asked.between_bytes, self.limits.idle_timeout),
        }
    }
}
