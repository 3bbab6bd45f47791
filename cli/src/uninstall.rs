//! `wasm-sock uninstall`: removes an installed service.

use crate::CommandError;

/// The arguments of `wasm-sock uninstall`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Uninstall {}

/// Removes an installed service.
///
/// # Errors
/// Always.
pub fn run(_: &Uninstall) -> Result<(), CommandError> {
    Err(CommandError::Failed("uninstall: not built yet".to_owned()))
}
