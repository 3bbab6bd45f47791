//! Runs other programs (`systemctl`, `journalctl`, the compiler), with progress for a person who waits.

use super::interrupt::Interrupts;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{self, IsTerminal, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// How often interrupts are looked for, and the progress is shown anew.
const TICK: Duration = Duration::from_millis(50);

/// Time before a person is told what takes so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs a program to its end, and returns what it printed. It has no standard input, and a process group of its own:
/// Ctrl-C reaches this program only, which then ends the other. `what` is shown on a terminal after a second.
///
/// # Errors
/// When it cannot be run, fails (with what it said on standard error), or a signal came (`interrupts`).
pub fn run(command: &mut Command, what: &str, interrupts: &Interrupts) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } = finish(command, what, interrupts)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&stderr);
    match said.trim() {
        "" => Err(format!("{name}: {status}")),
        said => Err(said.to_owned()),
    }
}

fn finish(command: &mut Command, what: &str, interrupts: &Interrupts) -> Result<Output, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |error: io::Error| match error.kind() {
        io::ErrorKind::NotFound => format!("{name}: it is not installed, or not in $PATH"),
        _ => format!("cannot run {name}: {error}"),
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let child = command.process_group(0).spawn().map_err(failed)?;
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (done, ended) = mpsc::channel();
    // It ends with the child.
    thread::spawn(move || done.send(child.wait_with_output()));
    let mut progress = Progress::new(what);
    loop {
        match ended.recv_timeout(TICK) {
            Ok(output) => return output.map_err(failed),
            Err(RecvTimeoutError::Disconnected) => return Err(format!("{name}: it was lost")),
            Err(RecvTimeoutError::Timeout) => progress.show(),
        }
        if let Err(why) = interrupts.check() {
            // It may have ended just now.
            let _ = group.map(|group| kill_process_group(group, Signal::TERM));
            let _ = ended.recv();
            return Err(why);
        }
    }
}

/// A line on the terminal, for what takes longer than a second; it is erased at the end.
pub struct Progress<'a> {
    what: &'a str,
    started: Instant,
    is_terminal: bool,
    shown: Option<u64>,
}

impl<'a> Progress<'a> {
    pub fn new(what: &'a str) -> Self {
        Self {
            what,
            started: Instant::now(),
            is_terminal: io::stderr().is_terminal(),
            shown: None,
        }
    }

    /// Shows the seconds that have passed.
    pub fn show(&mut self) {
        let passed = self.started.elapsed();
        if !self.is_terminal || passed < PATIENCE || self.shown == Some(passed.as_secs()) {
            return;
        }
        self.shown = Some(passed.as_secs());
        // It is not essential. The end erases the rest of the line (ECMA-48, EL).
        let _ = write!(io::stderr(), "\r{}: {} s\x1b[K", self.what, passed.as_secs());
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        if self.shown.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_is_its_error() {
        let mut shell = Command::new("sh");
        let result = run(
            shell.args(["-c", "echo no good >&2; exit 3"]),
            "",
            &Interrupts::default(),
        );
        assert_eq!(result, Err("no good".to_owned()));
        let result = run(Command::new("sh").args(["-c", "exit 3"]), "", &Interrupts::default());
        assert_eq!(result, Err("sh: exit status: 3".to_owned()));
        let result = run(Command::new("sh").args(["-c", "echo fine"]), "", &Interrupts::default());
        assert_eq!(result, Ok("fine\n".to_owned()));
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run(&mut Command::new("no-such-program"), "", &Interrupts::default()).unwrap_err();
        assert_eq!(error, "no-such-program: it is not installed, or not in $PATH");
    }
}
