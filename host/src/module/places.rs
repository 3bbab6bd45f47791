//! How many connections there may be at a time, and those who wait because there are as many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The places of a handler, or of the whole process (`max-connections`).
pub struct Places {
    count: usize,
    free: Arc<Semaphore>,
    /// Clients that wait because all are taken.
    waiting: AtomicUsize,
    /// Told when there is one more.
    crowded: Notify,
}

/// A place that is taken until this is dropped.
pub type Place = OwnedSemaphorePermit;

impl Places {
    pub fn new(count: usize) -> Self {
        let count = count.min(Semaphore::MAX_PERMITS);
        Self {
            count,
            free: Arc::new(Semaphore::new(count)),
            waiting: AtomicUsize::new(0),
            crowded: Notify::new(),
        }
    }

    /// How many there are, if all are taken.
    pub fn full(&self) -> Option<usize> {
        (self.free.available_permits() == 0).then_some(self.count)
    }

    /// A place, if one is free.
    pub fn try_take(&self) -> Option<Place> {
        self.free.clone().try_acquire_owned().ok()
    }

    /// Waits for a place, as a client that whoever is idle gives way to. `None` never happens: nobody
    /// closes the semaphore.
    pub async fn take(&self) -> Option<Place> {
        struct Waiting<'a>(&'a Places);
        impl Drop for Waiting<'_> {
            fn drop(&mut self) {
                self.0.waiting.fetch_sub(1, Relaxed);
            }
        }
        self.waiting.fetch_add(1, Relaxed);
        self.crowded.notify_waiters();
        let _waiting = Waiting(self);
        self.free.clone().acquire_owned().await.ok()
    }

    /// Does a client wait for a place?
    pub fn is_crowded(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    /// Waits until one more client waits for a place.
    pub async fn crowded(&self) {
        self.crowded.notified().await;
    }
}
