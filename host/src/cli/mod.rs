//! The command line of the host: one file a verb. All others are those of `wasm-sock-cli`.

mod arguments;
mod compile;
mod describe;
mod hand_over;
mod host;

use crate::activation::ActivationError;
use crate::config::{Config, ConfigErrors, Environment};
use crate::trace;
use std::path::Path;
use std::process::ExitCode;
use std::{env, io};
use thiserror::Error;

use arguments::Verb;

/// Why a command failed; decides the exit code.
#[derive(Debug, Error)]
pub enum Failure {
    #[error("{0}")]
    Failed(String),
    #[error("{0} (see `wasm-sock help`)")]
    Usage(String),
    #[error("{0}")]
    Configuration(ConfigErrors),
    /// Bad configuration, of which the log has told everything.
    #[error("bad configuration (see above)")]
    Reported,
    /// The service was started without the sockets it is for.
    #[error("{0}")]
    NoSockets(ActivationError),
}

impl Failure {
    /// 1 failed, 2 wrong usage, 78 (`EX_CONFIG`, `sysexits.h`) bad configuration: nothing that
    /// trying again would change.
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::FAILURE,
            Self::Usage(_) => ExitCode::from(2),
            Self::Configuration(_) | Self::Reported | Self::NoSockets(_) => ExitCode::from(78),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    trace::start();
    let result = arguments::parse(env::args_os().skip(1)).and_then(|verb| match verb {
        Verb::Host(options) => host::run(options),
        Verb::Compile(arguments) => compile::run(&arguments),
        Verb::Describe(subject) => describe::run(subject),
        Verb::HandOver(arguments) => hand_over::run(&arguments),
        Verb::Version => print(concat!("wasm-sock ", env!("CARGO_PKG_VERSION"), "\n")),
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("wasm-sock: {failure}");
            failure.exit_code()
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    use io::Write;
    match io::stdout().write_all(text.as_bytes()) {
        // Whoever pipes into `head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

/// The configuration that a command works with.
fn load_config(file: Option<&Path>) -> Result<Config, ConfigErrors> {
    Config::load(file, &environment())
}

/// What decides where the configuration is looked for.
fn environment() -> Environment<'static> {
    Environment::current(rustix::process::geteuid().is_root())
}
