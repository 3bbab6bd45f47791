//! Proves that the service works: by a knock, and by what its log says when that fails.

use super::knock::{self, Answer, Skip};
use super::plan::Plan;
use crate::installation::scope::Scope;
use crate::installation::systemd::now;
use std::thread;
use std::time::Duration;
use wasm_sock_config::ListenAddress;

/// How often the journal is read until it has the line about a failure, and the time in between: journald takes
/// lines as fast as it can, which under load is not at once.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(50);

/// What is known of the service.
#[derive(Debug)]
pub enum Proof {
    Answered(Answer),
    Skipped(Skip),
}

/// Knocks, if that is harmless.
///
/// # Errors
/// Why the service does not answer, with the lines of its log.
pub fn prove(plan: &Plan, scope: &Scope) -> Result<Proof, String> {
    let listen = match &plan.door {
        Ok(listen) => listen,
        Err(skip) => return Ok(Proof::Skipped(*skip)),
    };
    let began = now();
    let log = |attempts: u32| {
        for attempt in 0..attempts {
            let lines = scope.systemd.log(&plan.services, "err", began, 3);
            if !lines.is_empty() || attempt + 1 == attempts {
                return lines;
            }
            thread::sleep(PAUSE);
        }
        Vec::new()
    };
    let why = match knock::knock(listen, plan.is_http, &scope.systemd.interrupts) {
        Ok(answer) => {
            // A guest that fails resets its connection; a Unix socket cannot, and is closed.
            let is_unix = matches!(listen.address, ListenAddress::Path(_) | ListenAddress::Abstract(_));
            let is_silent = matches!(&answer, Answer::Bytes { bytes, .. } if bytes.is_empty());
            let lines = if is_unix && is_silent { log(3) } else { Vec::new() };
            if lines.is_empty() {
                return Ok(Proof::Answered(answer));
            }
            return Err(with_log(
                &format!("the connection to {listen} was closed: its guest failed"),
                &lines,
            ));
        }
        Err(why) => why,
    };
    // An interrupt, for example, is not in the log.
    scope.systemd.interrupts.check()?;
    Err(with_log(&why, &log(ATTEMPTS)))
}

fn with_log(why: &str, lines: &[String]) -> String {
    let mut text = why.to_owned();
    if !lines.is_empty() {
        text.push_str("\nits log says:");
        for line in lines {
            text.push_str("\n  ");
            text.push_str(line);
        }
    }
    text.push_str("\n(--no-knock installs it all the same)");
    text
}
