//! `wasm-sock host`: what systemd starts.

use super::arguments::HostOptions;
use super::{Failure, check, print};
use crate::activation::ActivationError;
use crate::serve;
use crate::startup::{self, Plan, Started};

/// # Errors
/// When no sockets were passed, the configuration is bad, or the process cannot serve.
pub fn run(options: HostOptions) -> Result<(), Failure> {
    if options.print_sandbox {
        let all_names = |config: &_| check::names(config, &mut Vec::new());
        let needs = startup::needs(options.startup, all_names).map_err(Failure::Configuration)?;
        return print(&needs.to_string());
    }
    let started = startup::start(options.startup).map_err(|error| match error {
        ActivationError::NoSockets | ActivationError::ZeroSockets => Failure::NoSockets(error),
        error => Failure::Failed(error.to_string()),
    })?;
    let Started { passed, plan, compiled } = started;
    serve::serve(passed, &plan, compiled)?;
    match plan {
        Plan::Serve { .. } => Ok(()),
        Plan::TurnAway => Err(Failure::Reported),
    }
}
