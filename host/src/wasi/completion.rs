//! Whether what ended is whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether a guest whose answer has no more to it has finished it: the streams of an answer end
/// alike when their guest is done and when it is gone.
#[derive(Default)]
pub struct Completion {
    ended: AtomicBool,
    broken: AtomicBool,
}

impl Completion {
    /// The guest did all that it wanted to do.
    pub fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    /// Was the guest's end not its own?
    pub fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }
}

/// Says that it is broken, when it is dropped before the end.
pub struct BrokenUnlessEnded(pub Arc<Completion>);

impl Drop for BrokenUnlessEnded {
    fn drop(&mut self) {
        if !self.0.ended.load(Relaxed) {
            self.0.broken.store(true, Relaxed);
        }
    }
}
