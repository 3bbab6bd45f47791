//! How many lines the guests of a handler may log (`max-log`).

use crate::journal::Window;
use crate::sync::lock;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// How much the guests of one handler may log.
pub struct LogLimit {
    /// Lines in a [`Window`]; `None`: as many as they like.
    most: Option<u32>,
    window: Mutex<Window>,
}

impl LogLimit {
    pub fn new(most: Option<u32>) -> Arc<Self> {
        Arc::new(Self {
            most,
            window: Mutex::default(),
        })
    }

    /// May a guest that logged in `own` log one more line? No guest takes more than half of what all
    /// of them have, so that the others are heard.
    pub fn allows(&self, own: &mut Window, now: Instant) -> bool {
        let Some(most) = self.most else {
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
