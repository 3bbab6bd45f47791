//! `wasm-sock metrics`: prints metrics.

use crate::CommandError;

/// The arguments of `wasm-sock metrics`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Metrics {}

/// Prints metrics.
///
/// # Errors
/// Always.
pub fn run(_: &Metrics) -> Result<(), CommandError> {
    Err(CommandError::Failed("metrics: not built yet".to_owned()))
}
