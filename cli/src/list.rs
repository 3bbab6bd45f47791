//! `wasm-sock list`: prints the handlers.

use crate::CommandError;

/// The arguments of `wasm-sock list`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct List {}

/// Prints the handlers.
///
/// # Errors
/// Always.
pub fn run(_: &List) -> Result<(), CommandError> {
    Err(CommandError::Failed("list: not built yet".to_owned()))
}
