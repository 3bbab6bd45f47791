//! All verbs but the host's own: becomes `wasm-sock-cli`.

use super::failure::Failure;
use crate::siblings::{COMMANDS, cannot_run};
use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Tells `wasm-sock-cli` where the host is.
const VARIABLE: &str = "WASM_SOCK_HOST";

/// # Errors
/// When `wasm-sock-cli` cannot be run; else this does not return.
pub fn run(arguments: &[OsString]) -> Result<(), Failure> {
    let program = COMMANDS.find().map_err(Failure::Failed)?;
    let mut command = Command::new(&program);
    let error = command.args(arguments).env(VARIABLE, env::current_exe()?).exec();
    Err(Failure::Failed(cannot_run(&program, &error)))
}
