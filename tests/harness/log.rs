//! Lines that another thread collects, and that a test waits for.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::PATIENCE;

/// Lines in the order they came.
#[derive(Default)]
pub struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Log {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn push(&self, line: String) {
        self.lock().push(line);
        self.grown.notify_all();
    }

    pub fn lines(&self) -> Vec<String> {
        self.lock().clone()
    }

    /// All of it, for the message of a failed test.
    pub fn text(&self) -> String {
        self.lines().join("\n")
    }

    /// How many lines have `text` in them so far.
    pub fn count(&self, text: &str) -> usize {
        self.lock().iter().filter(|l| l.contains(text)).count()
    }

    /// Waits for a line with `text` in it.
    pub fn wait_for(&self, text: &str, patience: Duration) -> Option<String> {
        let deadline = Instant::now() + patience;
        let mut lines = self.lock();
        loop {
            if let Some(line) = lines.iter().find(|line| line.contains(text)) {
                return Some(line.clone());
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            let waited = self.grown.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The line with `text` in it, which must be there soon.
    pub fn expect(&self, text: &str) -> String {
        self.wait_for(text, PATIENCE)
            .unwrap_or_else(|| panic!("no line says {text:?}; these came:\n{}", self.text()))
    }
}
