//! `wasm-sock host`: what systemd starts.

use super::arguments::HostOptions;
use super::{Failure, load_config};
use crate::activation::{self, ActivationError};
use crate::journal::{self, Level};
use crate::lifecycle;
use crate::serve::{self, Plan};

/// # Errors
/// When no sockets were passed, the configuration is bad, or the process cannot serve.
pub fn run(options: HostOptions) -> Result<(), Failure> {
    lifecycle::hold_signals();
    let passed = activation::sockets().map_err(|error| match error {
        ActivationError::NoSockets | ActivationError::ZeroSockets => Failure::NoSockets(error),
        _ => Failure::Failed(error.to_string()),
    })?;
    let mut config = match load_config(options.config.as_deref()) {
        Ok(config) => config,
        Err(errors) => {
            for line in errors.to_string().lines() {
                journal::log(Level::Error, line);
            }
            serve::serve(passed, &Plan::TurnAway)?;
            return Err(Failure::Reported);
        }
    };
    if let Some(idle_timeout) = options.idle_timeout {
        config.host.idle_timeout = idle_timeout;
    }
    let plan = Plan::Serve {
        config,
        module: options.module,
    };
    Ok(serve::serve(passed, &plan)?)
}
