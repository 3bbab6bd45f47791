//! The error type of the command line, and its exit codes.

use crate::activation::ActivationError;
use crate::config::ConfigErrors;
use std::io;
use std::process::ExitCode;
use thiserror::Error;

/// Why a command failed; decides the exit code.
#[derive(Debug, Error)]
pub enum Failure {
    /// Any other reason, such as a program that is missing.
    #[error("{0}")]
    Failed(String),
    /// The command line is wrong.
    #[error("{0} (see `wasm-sock help`)")]
    Usage(String),
    /// The configuration is invalid.
    #[error("{0}")]
    Configuration(ConfigErrors),
    /// The configuration is invalid, and the mistakes were logged.
    #[error("bad configuration (see above)")]
    Reported,
    /// The host was started without sockets.
    #[error("{0}")]
    NoSockets(ActivationError),
}

impl Failure {
    /// 1: failed; 2: wrong usage; 78 (`EX_CONFIG`, `sysexits.h`): bad configuration or no sockets, where a restart does
    /// not help (`RestartPreventExitStatus=`).
    pub fn exit_code(&self) -> ExitCode {
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
