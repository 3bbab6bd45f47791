//! `wasm-sock run`: runs a module without systemd and shows what it does.

use crate::CommandError;

/// The arguments of `wasm-sock run`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Run {}

/// Runs a module without systemd and shows what it does.
///
/// # Errors
/// Always.
pub fn run(_: &Run) -> Result<(), CommandError> {
    Err(CommandError::Failed("run: not built yet".to_owned()))
}
