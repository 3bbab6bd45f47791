//! Rate limits of lines that may come very often.

use super::line::{About, Level, Line};
use super::output;
use crate::sync::lock;
use std::fmt::{self, Display};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// The length of a rate-limit [`Window`].
const WINDOW: Duration = Duration::from_secs(10);

/// A fixed window of a rate limit: the lines that were logged since it began.
#[derive(Default)]
pub struct Window {
    began: Option<Instant>,
    lines: u32,
}

impl Window {
    /// Counts one more line. Returns whether it may be logged: at most `most` lines in a window.
    pub fn take(&mut self, most: u32, now: Instant) -> bool {
        let is_current = |began: Instant| now.saturating_duration_since(began) < WINDOW;
        if !self.began.is_some_and(is_current) {
            self.began = Some(now);
            self.lines = 0;
        }
        let is_left = self.lines < most;
        self.lines += u32::from(is_left);
        is_left
    }
}

/// A rate-limited warning: for what may happen very often. Suppressed lines are counted, and the next line tells
/// how many there were.
#[derive(Default)]
pub struct RateLimited(Mutex<ReportState>);

#[derive(Default)]
struct ReportState {
    window: Window,
    /// Lines that were not logged since the last that was.
    suppressed: u64,
}

/// Lines of one [`RateLimited`] that are logged in a [`Window`].
const MAX_WARNINGS: u32 = 5;

/// The lines that were not logged before this one. As text, the end of its message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Suppressed(u64);

impl Display for Suppressed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            more => write!(f, "; {more} more since this was last logged"),
        }
    }
}

impl RateLimited {
    /// May one more line be logged? `None`: it was counted instead.
    pub fn take(&self) -> Option<Suppressed> {
        let mut state = lock(&self.0);
        if !state.window.take(MAX_WARNINGS, Instant::now()) {
            state.suppressed += 1;
            return None;
        }
        Some(Suppressed(std::mem::take(&mut state.suppressed)))
    }

    /// Logs a warning about a handler, unless the window is full.
    pub fn warn(&self, handler: &str, message: impl Display) {
        if let Some(suppressed) = self.take() {
            output::write(&Line {
                level: Level::Warning,
                about: About::handler(handler),
                message: format_args!("{message}{suppressed}"),
                fields: &(),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{MAX_WARNINGS, RateLimited, Suppressed, WINDOW, Window};
    use std::time::Instant;

    #[test]
    fn a_window_that_is_full_is_empty_again_when_its_time_is_over() {
        let (mut window, now) = (Window::default(), Instant::now());
        let taken = |window: &mut Window, now| (0..9).filter(|_| window.take(3, now)).count();
        assert_eq!(taken(&mut window, now), 3);
        assert_eq!(taken(&mut window, now + WINDOW / 2), 0);
        assert_eq!(taken(&mut window, now + WINDOW), 3);
    }

    #[test]
    fn lines_that_are_suppressed_are_counted() {
        let limit = RateLimited::default();
        for _ in 0..MAX_WARNINGS {
            assert_eq!(limit.take(), Some(Suppressed(0)));
        }
        assert_eq!([limit.take(), limit.take()], [None, None]);
        assert_eq!(limit.0.lock().unwrap().suppressed, 2);
        assert_eq!(Suppressed(2).to_string(), "; 2 more since this was last logged");
    }
}
