//! The context of one HTTP connection, which its driver and its requests share.

use super::state::ConnectionState;
use crate::net::{Connection, Peer};
use crate::serve::handler::Handler;
use crate::serve::shared::Shared;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// One HTTP connection, for its task and its requests.
pub struct Session {
    pub host: Arc<Shared>,
    pub handler: Arc<Handler>,
    pub connection: Arc<Connection>,
    pub peer: Peer,
    pub state: Arc<ConnectionState>,
    /// The requests that have arrived.
    pub requests: AtomicU32,
    /// An HTTP/1 answer was aborted: the connection must be reset, so that the client can tell.
    pub must_reset: AtomicBool,
    /// A body stalled for too long (`idle-connection-timeout`).
    pub has_stalled: AtomicBool,
}

impl Session {
    /// Wakes the connection's task each time that one more client waits for a slot, and when the settings of the
    /// handler were replaced. Never returns.
    pub async fn clients_wait(&self) {
        let (handler, host) = (&self.handler.slots, &self.host.slots);
        loop {
            tokio::select! {
                () = handler.waited_for() => {}
                () = host.waited_for() => {}
            }
        }
    }

    /// Does a client wait for the slot of an idle connection?
    pub fn is_client_waiting(&self) -> bool {
        self.handler.slots.has_waiting_clients() || self.host.slots.has_waiting_clients()
    }

    /// Notes that an answer is aborted: over HTTP/1 the connection is reset (over HTTP/2 hyper resets only the stream).
    pub fn break_off(&self) {
        if !self.state.is_http2() {
            self.must_reset.store(true, Relaxed);
        }
    }
}
