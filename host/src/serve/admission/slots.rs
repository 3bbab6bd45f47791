//! Connection slots: a semaphore that also tells idle connections when a client waits for a slot.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// The slots of a handler, or of the whole process (`max-connections`).
pub struct ConnectionSlots {
    /// How many there are, free or in use.
    count: AtomicUsize,
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
            count: AtomicUsize::new(count),
            free: Arc::new(Semaphore::new(count)),
            waiting: AtomicUsize::new(0),
            waited_for: Notify::new(),
        }
    }

    /// The number of slots, if all are in use; else `None`.
    pub fn full(&self) -> Option<usize> {
        (self.free.available_permits() == 0).then(|| self.count.load(Relaxed))
    }

    /// Changes the number of slots. Connections keep theirs: with fewer slots than connections, none is free until
    /// enough of them have ended. Called on the main thread, in its event loop.
    pub fn resize(&self, count: usize) {
        let count = count.min(Semaphore::MAX_PERMITS);
        resize(&self.free, self.count.swap(count, Relaxed), count);
    }

    /// Wakes what waits in [`Self::waited_for`], to look whether something else has changed.
    pub fn wake(&self) {
        self.waited_for.notify_waiters();
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

/// Changes the number of permits of a semaphore that had `former` of them, used ones included. Used permits that are
/// too many are taken away as they are released, by a task: the semaphore is fair, so that the task gets them before
/// all that waits later. So a later call has nothing to know of it.
pub fn resize(semaphore: &Arc<Semaphore>, former: usize, count: usize) {
    if count > former {
        return semaphore.add_permits(count - former);
    }
    let too_many = former - count;
    let used = too_many - semaphore.forget_permits(too_many);
    let Some(used) = u32::try_from(used).ok().filter(|used| *used > 0) else {
        return;
    };
    let semaphore = semaphore.clone();
    tokio::spawn(async move {
        // The semaphore is never closed.
        if let Ok(released) = semaphore.acquire_many_owned(used).await {
            released.forget();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::yield_now;

    async fn settle() {
        for _ in 0..4 {
            yield_now().await;
        }
    }

    fn take(slots: &ConnectionSlots, count: usize) -> Vec<ConnectionSlot> {
        (0..count).map_while(|_| slots.try_take()).collect()
    }

    #[tokio::test]
    async fn slots_in_use_are_taken_away_when_they_are_released() {
        let slots = ConnectionSlots::new(4);
        let mut used = take(&slots, 3);
        slots.resize(2);
        settle().await;
        assert!(slots.try_take().is_none());
        assert_eq!(slots.full(), Some(2));
        used.pop();
        settle().await;
        assert!(slots.try_take().is_none(), "there are two connections still");
        used.pop();
        settle().await;
        assert_eq!(take(&slots, 4).len(), 1);
    }

    #[tokio::test]
    async fn slots_may_become_more_while_some_are_still_to_be_taken_away() {
        let slots = ConnectionSlots::new(4);
        let used = take(&slots, 4);
        slots.resize(1);
        settle().await;
        slots.resize(6);
        settle().await;
        assert_eq!(take(&slots, 9).len(), 2);
        drop(used);
        settle().await;
        assert_eq!(take(&slots, 9).len(), 6);
    }

    #[tokio::test]
    async fn a_client_that_waits_gets_a_slot_that_is_added() {
        let slots = ConnectionSlots::new(1);
        let _used = take(&slots, 1);
        let grow = async {
            settle().await;
            slots.resize(2);
        };
        let (slot, ()) = tokio::join!(slots.take(), grow);
        assert!(slot.is_some());
    }

    #[tokio::test]
    async fn no_limit_can_become_one() {
        let slots = ConnectionSlots::new(usize::MAX);
        let used = take(&slots, 3);
        slots.resize(2);
        settle().await;
        assert!(slots.try_take().is_none());
        drop(used);
        settle().await;
        assert_eq!(take(&slots, 9).len(), 2);
        slots.resize(usize::MAX);
        assert_eq!(take(&slots, 9).len(), 9);
    }
}
