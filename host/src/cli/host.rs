//! `wasm-sock host`: what systemd starts.

use super::arguments::HostOptions;
use super::{Failure, load_config};
use crate::activation::{self, ActivationError};
use crate::lifecycle;
use crate::serve::{self, Options};

/// # Errors
/// When no sockets were passed, the configuration is bad, or the process cannot serve.
pub fn run(options: HostOptions) -> Result<(), Failure> {
    lifecycle::hold_signals();
    let sockets = activation::sockets().map_err(|error| match error {
        ActivationError::NoSockets | ActivationError::ZeroSockets => Failure::NoSockets(error),
        _ => Failure::Failed(error.to_string()),
    })?;
    let mut config = match load_config(options.config.as_deref()) {
        Ok(config) => config,
        Err(errors) => {
            serve::turn_away(sockets, &errors.to_string())?;
            return Err(Failure::Configuration(errors));
        }
    };
    if let Some(idle_timeout) = options.idle_timeout {
        config.host.idle_timeout = idle_timeout;
    }
    Ok(serve::serve(
        sockets,
        &Options {
            config,
            module: options.module,
        },
    )?)
}
