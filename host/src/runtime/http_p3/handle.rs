//! State that is shared between the worker of an instance and the tasks of its requests.

use crate::runtime::outcome::{Cause, GuestEnd};
use crate::wasi::Completion;
use futures::task::AtomicWaker;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use tokio::sync::SetOnce;
use wasm_sock_stats::Outcome;

/// An instance as its worker and its requests see it, which may run in two threads.
///
/// The flags need no more than `Relaxed`: the worker registers its waker before it reads what requests write,
/// and requests wake it after they have written ([`AtomicWaker`] orders the two).
#[derive(Default)]
pub struct InstanceHandle {
    /// Requests that it has taken since it started. Written only by its worker, in whose thread the CPU limit is
    /// checked.
    taken: AtomicU32,
    /// It takes no more requests, because one timed out.
    is_draining: AtomicBool,
    /// Wakes the worker.
    waker: AtomicWaker,
    completion: OnceLock<Arc<Completion>>,
    end: SetOnce<Cause>,
}

impl InstanceHandle {
    pub fn taken(&self) -> u32 {
        self.taken.load(Relaxed)
    }

    /// Called by the worker for each request that it takes.
    pub fn count_taken(&self) {
        self.taken.fetch_add(1, Relaxed);
    }

    /// Makes the instance take no more requests, and end with the last that it has.
    pub fn drain(&self) {
        self.is_draining.store(true, Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Relaxed)
    }

    /// Called before what requests write is read.
    pub fn register(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Called after a request has written something.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// The store was created; `completion` tells whether the guest ended by itself.
    pub fn begin(&self, completion: Arc<Completion>) {
        let _ = self.completion.set(completion);
    }

    /// Was the guest ended before it had finished?
    pub fn is_broken(&self) -> bool {
        self.completion.get().is_some_and(|completion| completion.is_broken())
    }

    /// Tells requests without a response how the instance ended. Only the first call counts.
    pub fn finish(&self, end: &GuestEnd) {
        let _ = self.end.set(match end {
            GuestEnd::Trap(cause) => cause.clone(),
            GuestEnd::Exit(_) => Cause::new(Outcome::Exit, "its instance left before it answered"),
        });
    }

    /// Why the instance cannot answer, once it has ended.
    pub fn end(&self) -> Option<&Cause> {
        self.end.get()
    }

    /// Waits until the instance has ended, and returns why.
    pub async fn wait_for_end(&self) -> &Cause {
        self.end.wait().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_first_end_is_told() {
        let instance = InstanceHandle::default();
        assert_eq!(instance.end(), None);
        instance.finish(&GuestEnd::Exit(0));
        instance.finish(&GuestEnd::Trap(Cause::trap("too late")));
        let why = instance.end().map(|cause| cause.why.as_str());
        assert_eq!(why, Some("its instance left before it answered"));
    }
}
