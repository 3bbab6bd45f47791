//! `wasm-sock install`: installs a module as a service.

use crate::CommandError;

/// The arguments of `wasm-sock install`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Install {}

/// Installs a module as a service.
///
/// # Errors
/// Always.
pub fn run(_: &Install) -> Result<(), CommandError> {
    Err(CommandError::Failed("install: not built yet".to_owned()))
}
