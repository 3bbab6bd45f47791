//! SIGINT (Ctrl-C), SIGTERM and SIGHUP: noted, so that a change can be taken back before the program ends.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// The signals that ask the program to end. Until [`Self::catch`], they end it.
#[derive(Debug, Clone, Default)]
pub struct Interrupts {
    /// The last one that came; 0: none.
    signal: Arc<AtomicUsize>,
    is_ignored: Arc<AtomicBool>,
}

impl Interrupts {
    /// Notes these signals from now on; they no longer end the process.
    ///
    /// # Errors
    /// Those of `sigaction(2)`.
    pub fn catch(&self) -> io::Result<()> {
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let number = usize::try_from(signal).unwrap_or_default();
            flag::register_usize(signal, self.signal.clone(), number)?;
        }
        Ok(())
    }

    /// From now on they change nothing: a change is being taken back, and that has to be finished.
    pub fn ignore(&self) {
        self.is_ignored.store(true, Relaxed);
    }

    /// Did none come yet?
    ///
    /// # Errors
    /// Which one came, as a message.
    pub fn check(&self) -> Result<(), String> {
        if self.is_ignored.load(Relaxed) {
            return Ok(());
        }
        let name = match i32::try_from(self.signal.load(Relaxed)).unwrap_or_default() {
            0 => return Ok(()),
            SIGINT => "SIGINT",
            SIGHUP => "SIGHUP",
            _ => "SIGTERM",
        };
        Err(format!("interrupted by {name}"))
    }
}
