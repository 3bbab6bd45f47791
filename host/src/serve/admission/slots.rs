//! Connection slots: a semaphore that also tells idle connections when a client waits for a slot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The slots of a handler, or of the whole process (`max-connections`).
pub struct ConnectionSlots {
    count: usize,
    free: Arc<Semaphore>,
    /// The number of clients that wait for a slot.
    waiting: AtomicUsize,
    /// Notified when one more client waits.
    waited_for: Notify,
}

/// A slot that is in use until this is dropped.
pub type ConnectionSlot = OwnedSemaphorePermit;

impl ConnectionSlots {
    /// `count` free slots.
    pub fn new(count: usize) -> Self {
        let count = count.min(Semaphore::MAX_PERMITS);
        Self {
            count,
            free: Arc::new(Semaphore::new(count)),
            waiting: AtomicUsize::new(0),
            waited_for: Notify::new(),
        }
    }

    /// The number of slots, if all are in use; else `None`.
    pub fn full(&self) -> Option<usize> {
        (self.free.available_permits() == 0).then_some(self.count)
    }

    /// Takes a slot, if one is free.
    pub fn try_take(&self) -> Option<ConnectionSlot> {
        self.free.clone().try_acquire_owned().ok()
    }

    /// Waits for a slot, and asks idle connections to close. `None` never happens: the semaphore is never closed.
    pub async fn take(&self) -> Option<ConnectionSlot> {
        struct Waiting<'a>(&'a ConnectionSlots);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.waiting.fetch_sub(1, Relaxed);
            }
        }
        self.waiting.fetch_add(1, Relaxed);
        self.waited_for.notify_waiters();
        let _waiting = Waiting(self);
        self.free.clone().acquire_owned().await.ok()
    }

    /// Does a client wait for a slot?
    pub fn has_waiting_clients(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// Waits until one more client waits for a slot.
    pub async fn waited_for(&self) {
        self.waited_for.notified().await;
    }
}
