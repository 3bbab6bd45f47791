//! Completion of a guest: distinguishes the end of a response body from a guest that trapped in the middle of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether a guest finished its response. Needed because the streams of a response end in the same way when the guest
/// has finished and when it was ended.
#[derive(Default)]
pub struct Completion {
    ended: AtomicBool,
    broken: AtomicBool,
}

impl Completion {
    /// The guest ended by itself.
    pub fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    /// Was the guest ended before it had finished (by a trap or a limit)?
    pub fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }
}

/// Marks the guest as broken when it is dropped before [`Completion::end`] was called.
pub struct BrokenUnlessEnded(pub Arc<Completion>);

impl Drop for BrokenUnlessEnded {
    fn drop(&mut self) {
        if !self.0.ended.load(Relaxed) {
            self.0.broken.store(true, Relaxed);
        }
    }
}
