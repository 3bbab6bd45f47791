//! The exit code of the guests, which is the host's with `--exit-with-guest`: then the host serves connections that
//! another process accepted, one guest for each.

use crate::runtime::GuestEnd;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// A guest trapped: what a shell reports of a program that aborted (128 + SIGABRT, `signal(7)`).
pub const TRAP: u8 = 134;

/// A guest exceeded one of its limits: as timeout(1) has it.
pub const LIMIT: u8 = 124;

/// There is no module that could be run: `EX_CONFIG`, as for a bad configuration.
pub const NO_MODULE: u8 = 78;

/// The exit code of the first guest that did not end with 0; 0 if all did.
#[derive(Default)]
pub struct GuestExit(AtomicU8);

impl GuestExit {
    /// Adds the exit code of one more guest.
    pub fn add(&self, code: u8) {
        // It fails when there is one already.
        let _ = self.0.compare_exchange(0, code, Relaxed, Relaxed);
    }

    /// Adds the end of one more guest.
    pub fn add_end(&self, end: &GuestEnd) {
        self.add(match end {
            // Programs may end with any number of 32 bits, processes with 8 (`exit(3)`): what is more is a failure.
            GuestEnd::Exit(code) => u8::try_from(*code).unwrap_or(u8::MAX),
            GuestEnd::Trap(_) => TRAP,
        });
    }

    /// The exit code of all guests together.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.0.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_counts_and_is_kept() {
        let exit = GuestExit::default();
        for code in [0, 3, 0, 4] {
            exit.add_end(&GuestEnd::Exit(code));
        }
        exit.add_end(&GuestEnd::Trap("unreachable".into()));
        assert_eq!(exit.code(), ExitCode::from(3));
    }

    #[test]
    fn what_is_no_exit_code_of_a_process_is_a_failure() {
        for code in [-1, 256, i32::MIN] {
            let exit = GuestExit::default();
            exit.add_end(&GuestEnd::Exit(code));
            assert_eq!(exit.code(), ExitCode::from(255), "{code}");
        }
    }
}
