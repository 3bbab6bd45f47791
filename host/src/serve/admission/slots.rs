//! How many connections there may be at a time, and the clients that wait because there are as many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The slots of a handler, or of the whole process (`max-connections`).
pub struct ConnectionSlots {
    count: usize,
    free: Arc<Semaphore>,
    /// Clients that wait because all are taken.
    waiting: AtomicUsize,
    /// Told when one more waits.
    waited_for: Notify,
}

/// A slot that is taken until this is dropped.
pub type ConnectionSlot = OwnedSemaphorePermit;

impl ConnectionSlots {
    pub fn new(count: usize) -> Self {
        let count = count.min(Semaphore::MAX_PERMITS);
        Self {
            count,
            free: Arc::new(Semaphore::new(count)),
            waiting: AtomicUsize::new(0),
            waited_for: Notify::new(),
        }
    }

    /// How many there are, if all are taken.
    pub fn full(&self) -> Option<usize> {
        (self.free.available_permits() == 0).then_some(self.count)
    }

    /// A slot, if one is free.
    pub fn try_take(&self) -> Option<ConnectionSlot> {
        self.free.clone().try_acquire_owned().ok()
    }

    /// Waits for a slot, and asks idle connections to close. `None` never happens: nobody
    /// closes the semaphore.
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
