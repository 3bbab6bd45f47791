//! Fairness between connections: how much one may read before the other tasks of its thread run.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The most bytes that a connection may read in one poll of its task. hyper reads for as long as there is input, and
/// parses some of it slowly, such as a chunk-size line that never ends.
const MAX_READ: usize = 64 * 1024;

/// Bytes that were read since the connection's task was last polled.
#[derive(Default)]
pub struct ReadBudget(AtomicUsize);

impl ReadBudget {
    /// The task is polled: the budget is full again.
    #[inline]
    pub fn renew(&self) {
        self.0.store(0, Relaxed);
    }

    /// Counts bytes that were read.
    #[inline]
    pub fn spend(&self, bytes: usize) {
        self.0.fetch_add(bytes, Relaxed);
    }

    /// Has the task to yield before it reads more?
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
