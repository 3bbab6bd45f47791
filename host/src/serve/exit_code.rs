//! The exit code of the guests, which is the host's with `--exit-with-guest`: then the host serves connections that
//! another process accepted, one guest for each.

use super::record::End;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use wasm_sock_stats::Outcome;

/// A guest trapped: what a shell reports of a program that aborted (128 + SIGABRT, `signal(7)`).
const TRAP: u8 = 134;

/// A guest exceeded one of its limits, or the drain time-out: as timeout(1) has it.
const LIMIT: u8 = 124;

/// There is no module that could be run: `EX_CONFIG`, as for a bad configuration.
const NO_MODULE: u8 = 78;

/// The exit code of the first guest that did not end with 0; 0 if all did.
#[derive(Debug, Default)]
pub struct GuestExit(AtomicU8);

impl GuestExit {
    /// Adds the end of one more guest.
    pub fn add(&self, end: &End) {
        let code = code(end);
        if code != 0 {
            // It fails when there is one already.
            let _ = self.0.compare_exchange(0, code, Relaxed, Relaxed);
        }
    }

    /// The exit code of all guests together.
    pub fn code(&self) -> ExitCode {
        ExitCode::from(self.0.load(Relaxed))
    }
}

fn code(end: &End) -> u8 {
    match end.outcome {
        // That the client has left is not the guest's doing.
        Outcome::Ok | Outcome::ClientLeft => 0,
        // Programs may end with any number of 32 bits, processes with 8 (`exit(3)`): what is more is a failure.
        Outcome::Exit => end.exit_code.map_or(1, |code| u8::try_from(code).unwrap_or(u8::MAX)),
        Outcome::Trap => TRAP,
        Outcome::Timeout | Outcome::CpuTime | Outcome::Memory | Outcome::Idle | Outcome::Output => LIMIT,
        Outcome::Refused | Outcome::Drained => LIMIT,
        Outcome::NoModule => NO_MODULE,
        Outcome::BadRequest => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::{Cause, GuestEnd};

    fn exit(code: i32) -> End {
        End::from(&GuestEnd::Exit(code))
    }

    #[test]
    fn the_first_failure_counts_and_is_kept() {
        let sum = GuestExit::default();
        for code in [0, 3, 0, 4] {
            sum.add(&exit(code));
        }
        sum.add(&End::from(&GuestEnd::Trap(Cause::trap("unreachable"))));
        assert_eq!(sum.code(), ExitCode::from(3));
    }

    #[test]
    fn what_is_no_exit_code_of_a_process_is_a_failure() {
        for number in [-1, 256, i32::MIN] {
            assert_eq!(code(&exit(number)), 255, "{number}");
        }
    }
}
