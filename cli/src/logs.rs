//! `wasm-sock logs`: prints the log of a handler.

use crate::CommandError;

/// The arguments of `wasm-sock logs`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Logs {}

/// Prints the log of a handler.
///
/// # Errors
/// Always.
pub fn run(_: &Logs) -> Result<(), CommandError> {
    Err(CommandError::Failed("logs: not built yet".to_owned()))
}
