//! Starts a host as systemd does, with sockets (`sd_listen_fds(3)`).
//!
//! The host wants its own process number in `$LISTEN_PID`, which only the child knows. So this program starts itself
//! with a hidden verb, which sets the variable and executes the host.

use crate::{CommandError, host_program};
use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, getpid, getppid, set_parent_process_death_signal};
use std::env;
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The first descriptor that is passed (`SD_LISTEN_FDS_START`).
pub const FIRST: i32 = 3;

/// Variables about the service that this program may be a part of, which is not the host's.
const FOREIGN: [&str; 5] = [
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_PIDFDID",
    "MAINPID",
];

/// The arguments of the hidden verb.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Activate {
    /// The process that starts the host: the host is killed when it ends
    #[arg(long)]
    parent: i32,
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// A host to be started.
pub struct Activation {
    command: Command,
}

impl Activation {
    /// The host with these arguments (after `host`), and these sockets, which are all named `handler`.
    ///
    /// # Errors
    /// When this program cannot find itself.
    pub fn new<'a>(
        handler: &str,
        sockets: Vec<OwnedFd>,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, CommandError> {
        let mut command = Command::new(env::current_exe()?);
        let parent = getpid().as_raw_nonzero().to_string();
        command
            .args(["activate", "--parent", &parent, "--", "host"])
            .args(arguments);
        command.env("LISTEN_FDS", sockets.len().to_string());
        command.env("LISTEN_FDNAMES", vec![handler; sockets.len()].join(":"));
        for name in FOREIGN {
            command.env_remove(name);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mappings = (FIRST..).zip(sockets);
        let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
        command
            .fd_mappings(mappings.collect())
            .map_err(|error| CommandError::Failed(format!("cannot pass sockets: {error}")))?;
        Ok(Self { command })
    }

    /// The command, for more settings.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Starts it. It is killed when the thread ends that calls this (`PR_SET_PDEATHSIG`), and when this process does.
    ///
    /// # Errors
    /// When no process can be made.
    pub fn start(mut self) -> Result<Child, CommandError> {
        let child = self.command.spawn();
        child.map_err(|error| CommandError::Failed(format!("cannot start the host: {error}")))
    }
}

/// How many sockets a service manager has passed to this process (`sd_listen_fds(3)`): descriptors from 3 on.
pub fn passed_sockets() -> i32 {
    let number = |name| env::var(name).ok().and_then(|text| text.parse::<i32>().ok());
    match number("LISTEN_PID") == Some(getpid().as_raw_nonzero().get()) {
        true => number("LISTEN_FDS").unwrap_or(0),
        false => 0,
    }
}

/// Executes the host in place of this process, with these sockets and the names of their handlers, and these variables.
///
/// # Errors
/// When it cannot be executed; else this does not return.
pub fn become_host(
    names: &[&str],
    sockets: Vec<OwnedFd>,
    arguments: &[OsString],
    variables: &[(&str, PathBuf)],
) -> CommandError {
    let host = match host_program::path() {
        Ok(host) => host,
        Err(error) => return error,
    };
    let mut command = Command::new(&host);
    command.arg("host").args(arguments);
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    command.env("LISTEN_PID", getpid().as_raw_nonzero().to_string());
    command.env("LISTEN_FDS", sockets.len().to_string());
    command.env("LISTEN_FDNAMES", names.join(":"));
    command.env_remove("LISTEN_PIDFDID");
    let mappings = (FIRST..).zip(sockets);
    let mappings = mappings.map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
    if let Err(error) = command.fd_mappings(mappings.collect()) {
        return CommandError::Failed(format!("cannot pass sockets: {error}"));
    }
    host_program::cannot_run(&host, &command.exec())
}

/// Executes the host: the hidden verb.
///
/// # Errors
/// When the host cannot be run; else this does not return.
pub fn run(activate: &Activate) -> Result<(), CommandError> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(std::io::Error::from)?;
    // It may have ended before: then there was no signal.
    if getppid() != Pid::from_raw(activate.parent) {
        return Err(CommandError::Reported(1));
    }
    let host = host_program::path()?;
    let mut command = Command::new(&host);
    command.args(&activate.arguments);
    command.env("LISTEN_PID", getpid().as_raw_nonzero().to_string());
    Err(host_program::cannot_run(&host, &command.exec()))
}
