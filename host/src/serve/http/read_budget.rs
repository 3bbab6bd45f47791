//! Fairness among connections: how much one may read before the other tasks of its thread run.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The most bytes that a connection may read in one poll of its task. hyper goes on reading for as long as there is
/// input, and some of it, such as the size of a chunk that never ends, it reads slowly.
const MAX_READ: usize = 64 * 1024;

/// Bytes that were read since the connection's task was last polled.
#[derive(Default)]
pub struct ReadBudget(AtomicUsize);

impl ReadBudget {
    /// The task is polled: it may read again.
    #[inline]
    pub fn renew(&self) {
        self.0.store(0, Relaxed);
    }

    /// So many bytes were read.
    #[inline]
    pub fn spend(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }

    /// Do the other tasks come first now?
    #[inline]
    pub fn is_spent(&self) -> bool {
        self.0.load(Relaxed) >= MAX_READ
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_spent_with_the_last_byte_and_renewed_whole() {
        let budget = ReadBudget::default();
        budget.spend(MAX_READ - 1);
        assert!(!budget.is_spent());
        budget.spend(1);
        assert!(budget.is_spent());
        budget.renew();
        assert!(!budget.is_spent());
    }
}
