//! `wasm-sock install`: makes a module a service: checks everything, then changes all or nothing.

mod arguments;
mod checks;
mod knock;
mod module;
mod settings;

pub use arguments::Install;
use crate::CommandError;

pub fn run(_: &Install) -> Result<(), CommandError> {
    Err(CommandError::Failed("install: not built yet".to_owned()))
}
