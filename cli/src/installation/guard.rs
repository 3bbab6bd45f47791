//! A second process, which puts things in order if the command is killed (SIGKILL): at once, and not only when the next
//! command runs.

use super::interrupt::Interrupts;
use super::scope::Scope;
use super::store::Store;
use crate::CommandError;
use rustix::process::setsid;
use std::env;
use std::io::{self, Read, Write};
use std::process::{Child, Command, Stdio};

/// The hidden option of `install` and `uninstall` with which they are this process.
pub const OPTION: &str = "--guard";

/// What the command writes when it ends by itself.
const DONE: &[u8] = b"done";

/// The process that watches over this one.
#[derive(Debug)]
pub struct Guard {
    /// `None`: it could not be started. Then the next command puts things in order.
    child: Option<Child>,
}

impl Guard {
    /// Starts it.
    pub fn post(user: bool) -> Self {
        let start = || -> io::Result<Child> {
            let mut command = Command::new(env::current_exe()?);
            command.args(["install", "-", OPTION]);
            if user {
                command.arg("--user");
            }
            // It speaks to the same terminal.
            command.stdin(Stdio::piped()).spawn()
        };
        Self { child: start().ok() }
    }
}

impl Drop for Guard {
    /// Tells it that all is in order.
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // When it was killed, there is nothing to tell.
            let _ = child.stdin.take().map(|mut stdin| stdin.write_all(DONE));
            let _ = child.wait();
        }
    }
}

/// Is this process: waits until the command ends, and if it was killed, takes back what it did.
///
/// # Errors
/// What failed then.
pub fn watch(user: bool) -> Result<(), CommandError> {
    // What ends the command, such as the end of its terminal, does not end this process.
    let interrupts = Interrupts::catch()?;
    interrupts.ignore();
    // It fails only where it is unnecessary.
    let _ = setsid();
    let mut said = Vec::new();
    io::stdin().read_to_end(&mut said)?;
    if said == DONE {
        return Ok(());
    }
    let scope = Scope::new(user, false, &interrupts).map_err(CommandError::Failed)?;
    let say = |text: &str| eprintln!("wasm-sock: {text}");
    let opened = Store::open(&scope.places, &scope.systemd, &interrupts, &say);
    opened.map(drop).map_err(CommandError::Failed)
}
