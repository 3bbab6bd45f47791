//! `wasm-sock install`: makes a module a service: checks everything, then changes all or nothing.

mod arguments;
mod settings;

use crate::CommandError;
pub use arguments::Install;

pub fn run(_: &Install) -> Result<(), CommandError> {
    Err(CommandError::Failed("install: not built yet".to_owned()))
}
