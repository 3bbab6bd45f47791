//! Rate limit of log lines (`max-log`), for the guests of a handler together and for each of them.

use crate::journal::Window;
use crate::sync::lock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// More than any limit.
const UNLIMITED: u64 = u64::MAX;

/// The rate limit of log lines of the guests of one handler.
pub struct LogLimit {
    /// Lines in a [`Window`]; [`UNLIMITED`]: any number.
    most: AtomicU64,
    window: Mutex<Window>,
}

impl LogLimit {
    pub fn new(most: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            most: AtomicU64::new(most.map_or(UNLIMITED, u64::from)),
            window: Mutex::default(),
        })
    }

    /// Changes the limit, also for guests that run.
    pub fn limit(&self, most: Option<u32>) {
        self.most.store(most.map_or(UNLIMITED, u64::from), Relaxed);
    }

    /// May a guest whose own window is `own` log one more line? A single guest may use half of the limit, so that the
    /// others can still log.
    pub fn allows(&self, own: &mut Window, now: Instant) -> bool {
        let Ok(most) = u32::try_from(self.most.load(Relaxed)) else {
            return true;
        };
        own.take(most.div_ceil(2), now) && lock(&self.window).take(most, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_guest_leaves_half_of_the_lines_to_the_others() {
        let (limit, now) = (LogLimit::new(Some(5)), Instant::now());
        let heard = || {
            let mut own = Window::default();
            (0..9).filter(|_| limit.allows(&mut own, now)).count()
        };
        assert_eq!([heard(), heard(), heard()], [3, 2, 0]);
    }
}
