//! Reloads one host: checks its configuration, sends the signal, and waits until the host has read it.

use super::Scope;
use crate::CommandError;
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};
use wasm_sock_config::{Config, HandlerConfig, Process, valid_handler_name};
use wasm_sock_stats::{HandlerSnapshot, HostSnapshot, OTHERS, read_all};

/// How long a host may take to read its configuration: it does so within milliseconds, unless it was stopped (SIGSTOP)
/// or the machine is busy.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How often the host's counters are read meanwhile.
const INTERVAL: Duration = Duration::from_millis(3);

/// The name of a host's process (`proc_pid_comm(5)`).
const COMMAND: &str = "wasm-sock";

/// The name of a keeper's process, of which the kernel keeps 15 characters.
const KEEPER: &str = "wasm-sock-keepe";

/// Is this a host, as far as its name tells?
pub fn is_host(pid: i32) -> bool {
    command(pid).is_some_and(|command| command == COMMAND)
}

/// The name of a process. `None`: it is not there.
fn command(pid: i32) -> Option<String> {
    let command = fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(command.trim_end().to_owned())
}

/// The host that a keeper has started. `None`: it is asleep.
fn host_of(keeper: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).ok()?;
    children
        .split_whitespace()
        .find_map(|child| child.parse().ok().filter(|pid| is_host(*pid)))
}

/// Reloads the host with this process number. `handlers` are its handlers, in case that its counters do not tell.
///
/// # Errors
/// When the configuration of its handlers has mistakes, the process is no host or may not be told, or it could not
/// apply the configuration.
pub fn reload(pid: i32, handlers: &[String], scope: &Scope) -> Result<(), CommandError> {
    let is_keeper = command(pid).is_some_and(|command| command == KEEPER);
    let pid = is_keeper.then(|| host_of(pid)).flatten().unwrap_or(pid);
    let failed = |why: String| CommandError::Failed(format!("reload: process {pid} {why}"));
    let counters = Counters {
        pid,
        directory: scope.counters(),
    };
    scope.check(&names(&counters, handlers, scope))?;
    match command(pid).as_deref() {
        Some(COMMAND) => {}
        // Its next host reads the configuration that was checked.
        Some(KEEPER) => return Ok(()),
        Some(other) => {
            return Err(failed(format!(
                "is no host but {other:?} (give the number of a `wasm-sock host`)"
            )));
        }
        None if is_keeper => return Ok(()),
        None => {
            return Err(failed(
                "is not there (has the host exited? then there is nothing to reload)".to_owned(),
            ));
        }
    }
    let before = counters.host();
    if let Err(error) = tell(pid) {
        // A host of a keeper that has ended meanwhile.
        let is_gone = is_keeper && command(pid).is_none();
        let why = format!("cannot be told: {error} (run this as the host's user, or as root)");
        return if is_gone { Ok(()) } else { Err(failed(why)) };
    }
    // Without counters, only the log tells what becomes of it.
    let Some(before) = before else {
        return Ok(());
    };
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match counters.host() {
            Some(now) if now.since == before.since && now.reloads == before.reloads => {}
            Some(now) if now.since == before.since && now.reload_failed => {
                return Err(failed(
                    "could not apply the configuration, and keeps the former (see its log)".to_owned(),
                ));
            }
            // Also when it is gone, or another has its number: it has handed over.
            _ => return Ok(()),
        }
        if Instant::now() >= deadline {
            return Err(failed(format!(
                "has not read its configuration within {TIMEOUT:?} (see its log)"
            )));
        }
        sleep(INTERVAL);
    }
}

/// The handlers of the host: those that it counts for, else the `given` ones, else those that `wasm-sock.service` has.
fn names(counters: &Counters, given: &[String], scope: &Scope) -> BTreeSet<String> {
    let counted = counters.handlers();
    if !counted.is_empty() {
        return counted;
    }
    if !given.is_empty() {
        // systemd makes a `/` of each `-` in an instance's name that was not escaped (`%I`, systemd.unit(5)). No handler
        // has one in its name.
        return given.iter().map(|name| name.replace('/', "-")).collect();
    }
    let (config, _) = Config::load_for_units(scope.config.as_deref(), &scope.environment());
    // Sockets of a handler without `listen` are in units that people wrote.
    let may_be_shared = |handler: &HandlerConfig| handler.process == Process::Shared || handler.listen.is_empty();
    let shared = config
        .handlers
        .into_iter()
        .filter(|(_, handler)| may_be_shared(handler));
    shared.map(|(name, _)| name).collect()
}

/// What a host counts.
struct Counters {
    pid: i32,
    /// `None`: it is not known.
    directory: Option<PathBuf>,
}

impl Counters {
    fn read(&self) -> Vec<HandlerSnapshot> {
        // What cannot be read is as good as not there.
        self.directory
            .as_ref()
            .and_then(|directory| read_all(directory).ok())
            .unwrap_or_default()
    }

    fn is_of_host(&self, host: &HostSnapshot) -> bool {
        i64::from(host.pid) == i64::from(self.pid)
    }

    /// The host's own entry.
    fn host(&self) -> Option<HostSnapshot> {
        let hosts = self.read().into_iter().flat_map(|handler| handler.hosts);
        hosts.into_iter().find(|host| self.is_of_host(host))
    }

    /// The handlers that it has sockets of.
    fn handlers(&self) -> BTreeSet<String> {
        let is_own = |handler: &HandlerSnapshot| handler.hosts.iter().any(|host| self.is_of_host(host));
        let names = self.read().into_iter().filter(is_own).map(|handler| handler.name);
        // Others are counted together, under a name that no handler has.
        names
            .filter(|name| valid_handler_name(name) && name != OTHERS)
            .collect()
    }
}

/// Sends SIGHUP by sigqueue(3): so the host knows that this process waits, and does not end before it (a service that
/// ends while it is reloaded has failed to reload, for systemd).
fn tell(pid: i32) -> io::Result<()> {
    let value = libc::sigval {
        sival_ptr: std::ptr::null_mut(),
    };
    // SAFETY: sigqueue(3) has no conditions.
    match unsafe { libc::sigqueue(pid, libc::SIGHUP, value) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
