//! What one handler may have at a time, so that others get their share: requests, lookups, connections through here.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasm_sock_egress_protocol::Failure;

/// The most requests of a handler that are answered at a time: connections that are being made.
const MOST_REQUESTS: usize = 256;

/// The most names of a handler that are looked up at a time. Each occupies one of the threads of all handlers.
const MOST_LOOKUPS: usize = 4;

/// The most connections of a handler that go through this process: TLS and UDP.
const MOST_RELAYS: usize = 512;

/// The most handshakes of TLS at a time. They cost much CPU time.
const MOST_HANDSHAKES: usize = 64;

/// The permits of all handlers.
pub struct Limits {
    handlers: Mutex<HashMap<String, Arc<OfHandler>>>,
    pub handshakes: Semaphore,
}

/// The permits of one handler.
pub struct OfHandler {
    requests: Arc<Semaphore>,
    pub lookups: Arc<Semaphore>,
    relays: Arc<Semaphore>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            handlers: Mutex::default(),
            handshakes: Semaphore::new(MOST_HANDSHAKES),
        }
    }
}

impl Limits {
    /// The permits of a handler.
    pub fn of(&self, handler: &str) -> Arc<OfHandler> {
        let mut handlers = self.handlers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = handlers.get(handler) {
            return known.clone();
        }
        // Those of handlers that have nothing in flight are not needed.
        handlers.retain(|_, handler| Arc::strong_count(handler) > 1 || !handler.is_idle());
        let new = Arc::new(OfHandler {
            requests: Arc::new(Semaphore::new(MOST_REQUESTS)),
            lookups: Arc::new(Semaphore::new(MOST_LOOKUPS)),
            relays: Arc::new(Semaphore::new(MOST_RELAYS)),
        });
        handlers.insert(handler.to_owned(), new.clone());
        new
    }
}

impl OfHandler {
    /// # Errors
    /// [`Failure::Limit`]
    pub fn request(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.requests.clone().try_acquire_owned().map_err(|_| Failure::Limit)
    }

    /// # Errors
    /// [`Failure::Limit`]
    pub fn relay(&self) -> Result<OwnedSemaphorePermit, Failure> {
        self.relays.clone().try_acquire_owned().map_err(|_| Failure::Limit)
    }

    fn is_idle(&self) -> bool {
        self.requests.available_permits() == MOST_REQUESTS
            && self.lookups.available_permits() == MOST_LOOKUPS
            && self.relays.available_permits() == MOST_RELAYS
    }
}
