//! `wasm-sock completions`: prints completions.

use crate::CommandError;

/// The arguments of `wasm-sock completions`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Completions {}

/// Prints completions.
///
/// # Errors
/// Always.
pub fn run(_: &Completions) -> Result<(), CommandError> {
    Err(CommandError::Failed("completions: not built yet".to_owned()))
}
