//! `wasm-sock exec`: runs a handler once.

use crate::CommandError;

/// The arguments of `wasm-sock exec`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Exec {}

/// Runs a handler once.
///
/// # Errors
/// Always.
pub fn run(_: &Exec) -> Result<(), CommandError> {
    Err(CommandError::Failed("exec: not built yet".to_owned()))
}
