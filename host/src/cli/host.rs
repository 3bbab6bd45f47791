//! `wasm-sock host`: what systemd starts.

use super::arguments::HostOptions;
use super::{Failure, load_config};
use crate::activation::{self, ActivationError, Passed};
use crate::journal::{self, Level};
use crate::lifecycle;
use crate::serve::{self, Plan};

/// # Errors
/// When no sockets were passed, the configuration is bad, or the process cannot serve.
pub fn run(options: HostOptions) -> Result<(), Failure> {
    lifecycle::hold_signals();
    let passed = sockets(&options)?;
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
        config: Box::new(config),
        module: options.module,
    };
    Ok(serve::serve(passed, &plan)?)
}

/// The sockets that were passed; else, with `--module`, the one that standard input is.
fn sockets(options: &HostOptions) -> Result<Passed, Failure> {
    let error = match activation::sockets() {
        Ok(passed) => return Ok(passed),
        Err(error) => error,
    };
    match error {
        ActivationError::NoSockets | ActivationError::ZeroSockets => {}
        _ => return Err(Failure::Failed(error.to_string())),
    }
    let accepted = options.module.as_ref();
    match accepted.and_then(|_| activation::standard_input()) {
        Some((passed, stderr_was_it)) => {
            if stderr_was_it {
                journal::use_syslog();
            }
            Ok(passed)
        }
        None => Err(Failure::NoSockets(error)),
    }
}
