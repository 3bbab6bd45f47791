//! `wasm-sock status`: prints the state of a handler.

use crate::CommandError;

/// The arguments of `wasm-sock status`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Status {}

/// Prints the state of a handler.
///
/// # Errors
/// Always.
pub fn run(_: &Status) -> Result<(), CommandError> {
    Err(CommandError::Failed("status: not built yet".to_owned()))
}
