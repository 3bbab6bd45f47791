//! `wasm-sock-cli`: the commands that people type. `wasm-sock VERB` hands over to it.
//!
//! The host, which systemd starts for a connection, has to be small; this program need not be. What only the engine
//! can tell, it asks the host for ([`host_program`]).

mod check;
mod commands;
mod host_program;
mod inspect;

use commands::Verb;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use thiserror::Error;
use wasm_sock_config::ConfigErrors;

/// Why a command failed; decides the exit code.
#[derive(Debug, Error)]
enum CommandError {
    #[error("{0}")]
    Failed(String),
    #[error("{0}")]
    Configuration(ConfigErrors),
    /// The host failed with this exit code, and has said why.
    #[error("the host failed (see above)")]
    Told(u8),
}

impl CommandError {
    /// 1 failed, 78 (`EX_CONFIG`, `sysexits.h`) bad configuration. Wrong usage is 2 ([`commands::parse`]).
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::FAILURE,
            Self::Configuration(_) => ExitCode::from(78),
            Self::Told(code) => ExitCode::from(*code),
        }
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

fn main() -> ExitCode {
    let result = match commands::parse(std::env::args_os()) {
        Ok(verb) => run(verb),
        Err(error) => return commands::report(&error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, CommandError::Told(_)) {
                eprintln!("wasm-sock: {error}");
            }
            error.exit_code()
        }
    }
}

fn run(verb: Verb) -> Result<(), CommandError> {
    match verb {
        Verb::Check { config } => {
            let config = config.map(absolute).transpose()?;
            check::run(config.as_deref())
        }
        Verb::Inspect { module } => inspect::run(&absolute(module)?),
        Verb::Host { .. } | Verb::Compile { .. } => host_program::hand_back(),
        Verb::Version => print(concat!("wasm-sock ", env!("CARGO_PKG_VERSION"), "\n")),
        Verb::Help { command } => commands::help(command),
    }
}

/// The same path from the root, for messages.
fn absolute(path: PathBuf) -> Result<PathBuf, CommandError> {
    std::path::absolute(&path).map_err(|error| CommandError::Failed(format!("{}: {error}", path.display())))
}

/// Prints to standard output.
fn print(text: &str) -> Result<(), CommandError> {
    match io::stdout().write_all(text.as_bytes()) {
        // A reader such as `head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
