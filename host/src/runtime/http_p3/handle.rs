//! What an instance and its requests share.

use crate::runtime::outcome::GuestEnd;
use crate::wasi::Completion;
use futures::task::AtomicWaker;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::Waker;
use tokio::sync::SetOnce;

/// An instance, for its requests and its worker, which may be in two threads.
///
/// The flags need no more than `Relaxed`: the worker registers its waker before it reads what requests write,
/// and requests wake it after they have written ([`AtomicWaker`] orders the two).
#[derive(Default)]
pub struct InstanceHandle {
    /// Requests it took in its life. Only its worker writes this, and its CPU limit is looked at in
    /// the same thread.
    taken: AtomicU32,
    /// It takes no more requests, because one timed out.
    is_draining: AtomicBool,
    /// Wakes the worker.
    waker: AtomicWaker,
    completion: OnceLock<Arc<Completion>>,
    end: SetOnce<String>,
}

impl InstanceHandle {
    pub fn taken(&self) -> u32 {
        self.taken.load(Relaxed)
    }

    /// Called by the worker for each request that it takes.
    pub fn count_taken(&self) {
        self.taken.fetch_add(1, Relaxed);
    }

    /// Takes no more requests, and ends with the last of those that it has.
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

    /// Its store is there, and will tell through `completion` whether the guest did all it wanted to.
    pub fn begin(&self, completion: Arc<Completion>) {
        let _ = self.completion.set(completion);
    }

    /// Did the guest come to an end that is not its own?
    pub fn is_broken(&self) -> bool {
        self.completion.get().is_some_and(|completion| completion.is_broken())
    }

    /// Tells requests without an answer how the instance ended. Only the first call counts.
    pub fn finish(&self, end: &GuestEnd) {
        let _ = self.end.set(match end {
            GuestEnd::Trap(why) => why.clone(),
            GuestEnd::Exit(_) => "its instance left before it answered".into(),
        });
    }

    /// Why it makes no answer, once it has ended.
    pub fn end(&self) -> Option<&str> {
        self.end.get().map(String::as_str)
    }

    /// The same, when it comes.
    pub async fn wait_for_end(&self) -> &str {
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
        instance.finish(&GuestEnd::Trap("too late".into()));
        assert_eq!(instance.end(), Some("its instance left before it answered"));
    }
}
