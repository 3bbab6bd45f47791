//! `wasm-sock host`: serves the sockets that systemd passed (socket activation).

use super::arguments::HostOptions;
use super::failure::Failure;
use super::output::print;
use crate::activation::ActivationError;
use crate::journal;
use crate::serve;
use crate::startup::{self, Plan, Started};

/// Starts up and serves until the host is idle or gets a signal; or prints the sandbox.
///
/// # Errors
/// When no sockets were passed, the configuration is bad, or the process cannot serve.
pub fn run(options: HostOptions) -> Result<(), Failure> {
    if options.print_sandbox {
        let needs = startup::needs(options.startup).map_err(Failure::Configuration)?;
        return print(&needs.to_string());
    }
    journal::open(options.log_format);
    let started = startup::start(options.startup).map_err(|error| match error {
        ActivationError::NoSockets | ActivationError::ZeroSockets => Failure::NoSockets(error),
        error => Failure::Failed(error.to_string()),
    })?;
    let Started {
        passed,
        plan,
        compiled,
        stats,
    } = started;
    serve::serve(passed, &plan, compiled, stats)?;
    match plan {
        Plan::Serve { .. } => Ok(()),
        Plan::TurnAway => Err(Failure::Reported),
    }
}
