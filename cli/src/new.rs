//! `wasm-sock new`: makes a project from an example.

use crate::CommandError;

/// The arguments of `wasm-sock new`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct New {}

/// Makes a project from an example.
///
/// # Errors
/// Always.
pub fn run(_: &New) -> Result<(), CommandError> {
    Err(CommandError::Failed("new: not built yet".to_owned()))
}
