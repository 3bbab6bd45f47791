//! `wasm-sock compile`: executes `wasm-sock-compile` (`execve(2)`); confined when the host's compile process starts it.

use super::failure::Failure;
use crate::module::{CONFINED, CPU_TIME, MEMORY};
use crate::sandbox::{self, Needs};
use crate::siblings::{COMPILER, cannot_run};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Executes the compiler. If the first argument is [`CONFINED`], it gets resource limits and a sandbox before.
///
/// # Errors
/// When the compiler is missing or cannot be run; else this does not return.
pub fn run(arguments: &[OsString]) -> Result<(), Failure> {
    let compiler = COMPILER.find().map_err(Failure::Failed)?;
    let confined = arguments.split_first().filter(|(first, _)| *first == CONFINED);
    let arguments = confined.map_or(arguments, |(_, rest)| rest);
    if confined.is_some() {
        for (resource, most) in [(Resource::Cpu, CPU_TIME), (Resource::Data, MEMORY)] {
            let limit = Rlimit {
                current: Some(most),
                // Above the soft limit: at the hard limit the signal would be SIGKILL instead of SIGXCPU
                // (setrlimit(2)).
                maximum: Some(most + 5),
            };
            // It fails only if the limit is lower already.
            let _ = setrlimit(resource, limit);
        }
        let needs = Needs {
            compiler: Some(compiler.clone()),
            ..Needs::default()
        };
        // The host has logged which parts of the sandbox the kernel lacks.
        let _ = sandbox::enter(&needs, None);
    }
    let error = Command::new(&compiler).args(arguments).exec();
    Err(Failure::Failed(cannot_run(&compiler, &error)))
}
