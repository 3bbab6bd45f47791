//! Hands the verbs that are not the host's own over to `wasm-sock-cli` (`execve(2)`).

use super::failure::Failure;
use crate::siblings::{COMMANDS, cannot_run};
use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// The environment variable that gives `wasm-sock-cli` the path of the host.
const HOST_PATH_VARIABLE: &str = "WASM_SOCK_HOST";

/// Executes `wasm-sock-cli` with these arguments.
///
/// # Errors
/// When `wasm-sock-cli` cannot be run; else this does not return.
pub fn run(arguments: &[OsString]) -> Result<(), Failure> {
    let program = COMMANDS.find().map_err(Failure::Failed)?;
    let mut command = Command::new(&program);
    let error = command
        .args(arguments)
        .env(HOST_PATH_VARIABLE, env::current_exe()?)
        .exec();
    Err(Failure::Failed(cannot_run(&program, &error)))
}
