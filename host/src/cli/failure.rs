//! Why a command failed, and its exit code.

use crate::activation::ActivationError;
use crate::config::ConfigErrors;
use std::io;
use std::process::ExitCode;
use thiserror::Error;

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
