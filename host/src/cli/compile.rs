//! `wasm-sock compile`: becomes `wasm-sock-compile`.

use super::Failure;
use crate::module::compiler_path;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// # Errors
/// When the compiler is not there; else this does not return.
pub fn run(arguments: &[OsString]) -> Result<(), Failure> {
    let compiler = compiler_path()?;
    let error = Command::new(&compiler).args(arguments).exec();
    let message = format!(
        "cannot run {}: {error} (it belongs beside wasm-sock)",
        compiler.display()
    );
    Err(Failure::Failed(message))
}
