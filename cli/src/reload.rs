//! `wasm-sock reload`: reloads a host.

use crate::CommandError;

/// The arguments of `wasm-sock reload`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Reload {}

/// Reloads a host.
///
/// # Errors
/// Always.
pub fn run(_: &Reload) -> Result<(), CommandError> {
    Err(CommandError::Failed("reload: not built yet".to_owned()))
}
