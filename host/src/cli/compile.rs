//! `wasm-sock compile`: becomes `wasm-sock-compile`.

use super::failure::Failure;
use crate::module::{CONFINED, CPU_TIME, MEMORY};
use crate::sandbox::{self, Needs};
use crate::siblings::{COMPILER, cannot_run};
use rustix::process::{Resource, Rlimit, setrlimit};
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// # Errors
/// When the compiler is not there; else this does not return.
pub fn run(arguments: &[OsString]) -> Result<(), Failure> {
    let compiler = COMPILER.find().map_err(Failure::Failed)?;
    let confined = arguments.split_first().filter(|(first, _)| *first == CONFINED);
    let arguments = confined.map_or(arguments, |(_, rest)| rest);
    if confined.is_some() {
        for (resource, most) in [(Resource::Cpu, CPU_TIME), (Resource::Data, MEMORY)] {
            let limit = Rlimit {
                current: Some(most),
                // Beyond that, SIGXCPU would be SIGKILL (setrlimit(2)).
                maximum: Some(most + 5),
            };
            // A lower one is as good.
            let _ = setrlimit(resource, limit);
        }
        let needs = Needs {
            compiler: Some(compiler.clone()),
            ..Needs::default()
        };
        // What the kernel cannot do was told by the host.
        let _ = sandbox::enter(&needs);
    }
    let error = Command::new(&compiler).args(arguments).exec();
    Err(Failure::Failed(cannot_run(&compiler, &error)))
}
