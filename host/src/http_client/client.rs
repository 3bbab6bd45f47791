//! The client of a handler, and of one guest: what they share.

use super::pool::Pool;
use crate::config::OutboundLimits;
use crate::egress::Egress;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

/// Requests that wait for one of `max-requests`, beyond which more are refused: each takes some memory of the host.
pub const MOST_WAITING: u32 = 1024;

/// The client of one handler: its guests share connections and limits.
pub struct Client {
    pub(super) handler: Arc<str>,
    pub(super) limits: OutboundLimits,
    pub(super) egress: Arc<Egress>,
    pub(super) pool: Arc<Pool>,
    /// One permit for each request that may be under way.
    pub(super) permits: Arc<Semaphore>,
    /// Requests that wait for one.
    pub(super) waiting: AtomicU32,
}

/// The client as one guest uses it.
#[derive(Clone)]
pub struct GuestClient {
    pub(super) client: Arc<Client>,
    /// The event loop of the thread that the guest began in.
    pub(super) home: Handle,
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
    pub(super) fn timeouts(&self, asked: Timeouts) -> Timeouts {
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
