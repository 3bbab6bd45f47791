//! `wasm-sock host`: serves the sockets that systemd passed (socket activation).

use super::arguments::HostOptions;
use super::failure::Failure;
use super::output::print;
use crate::activation::{self, ActivationError, Kind, Passed, Socket};
use crate::journal;
use crate::keeper;
use crate::serve::{self, Ending};
use crate::startup;
use std::process::ExitCode;

/// Starts up and serves until the host is idle or gets a signal; or prints the sandbox. Returns the exit code: 0, or
/// with `--exit-with-guest` the guest's.
///
/// # Errors
/// When no sockets were passed, the configuration is bad, or the process cannot serve.
pub fn run(options: HostOptions) -> Result<ExitCode, Failure> {
    if options.print_sandbox {
        let needs = startup::needs(options.startup).map_err(Failure::Configuration)?;
        return print(&needs.to_string()).map(|()| ExitCode::SUCCESS);
    }
    journal::open(options.log_format);
    let started = startup::start(options.startup).map_err(|error| match error {
        ActivationError::NoSockets | ActivationError::ZeroSockets => Failure::NoSockets(error),
        error => Failure::Failed(error.to_string()),
    })?;
    if options.exit_with_guest {
        check_connections(&started.passed)?;
    }
    match serve::serve(started)? {
        Ending::Served { guests, .. } if options.exit_with_guest => Ok(guests),
        Ending::Served { kept, .. } if keeper::is_kept() => Ok(kept),
        Ending::Served { .. } => Ok(ExitCode::SUCCESS),
        Ending::TurnedAway => Err(Failure::Reported),
    }
}

/// `--exit-with-guest`: there is an exit code for each guest, so that none of the sockets may be one at which clients
/// come and go.
fn check_connections(passed: &Passed) -> Result<(), Failure> {
    let is_connection = |socket: &&Socket| matches!(activation::kind(&socket.fd), Ok(Kind::Connection(_)));
    match passed.sockets.iter().find(|socket| !is_connection(socket)) {
        None => Ok(()),
        Some(socket) => Err(Failure::Usage(format!(
            "--exit-with-guest is for a connection that was accepted before (Accept=yes, inetd), and socket {:?} is none",
            socket.name
        ))),
    }
}
