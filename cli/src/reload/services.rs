//! Reloads the services whose hosts are running, as a person does: `systemctl reload` for each.

use super::{Scope, process};
use crate::{CommandError, print};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Stdio};
use wasm_sock_stats::{OTHERS, read_all};

/// Reloads the running services of these handlers; without any names, all.
///
/// # Errors
/// When the configuration has mistakes, or a service could not be reloaded.
pub fn reload(names: &[String], scope: &Scope) -> Result<(), CommandError> {
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| wanted == name);
    let mut running = running(scope);
    running.retain(|_, handlers| handlers.iter().any(|name| wanted(name)));
    let served: BTreeSet<String> = running.values().flatten().cloned().collect();
    // Those that do not run, too: their mistakes would show at the next client.
    scope.check(&served.iter().chain(names).cloned().collect())?;
    for name in names.iter().filter(|name| !served.contains(*name)) {
        let text = format!("{name}: no host is running; the next one reads its settings when a client connects\n");
        print(&text)?;
    }
    if running.is_empty() && names.is_empty() {
        return print("no host is running; the next one reads the configuration when a client connects\n");
    }
    let mut failed = Vec::new();
    for (host, handlers) in running {
        let handlers: Vec<String> = handlers.into_iter().collect();
        match reload_host(&host, scope) {
            Ok(()) => print(&format!("{}: reloaded ({})\n", handlers.join(", "), host.name()))?,
            Err(why) => failed.push(why),
        }
    }
    match failed.is_empty() {
        true => Ok(()),
        false => Err(CommandError::Failed(format!("reload: {}", failed.join("\n  ")))),
    }
}

/// What a host is reloaded by.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Host {
    /// The name of its service.
    Service(String),
    /// It belongs to no service that can be reloaded: its process number.
    Process(i32),
}

impl Host {
    fn name(&self) -> String {
        match self {
            Self::Service(unit) => unit.clone(),
            Self::Process(pid) => format!("process {pid}"),
        }
    }
}

fn reload_host(host: &Host, scope: &Scope) -> Result<(), String> {
    match host {
        Host::Process(pid) => process::reload(*pid, &[], scope).map_err(|error| error.to_string()),
        Host::Service(unit) => {
            let status = systemctl(scope).args(["reload", "--", unit]).status();
            match status {
                Ok(status) if status.success() => Ok(()),
                Ok(_) => {
                    let user = if scope.user { "--user " } else { "" };
                    Err(format!("{unit} was not reloaded (see `journalctl {user}-u {unit}`)"))
                }
                Err(error) => Err(format!("systemctl cannot be run: {error}")),
            }
        }
    }
}

/// The running hosts, with the names of their handlers.
fn running(scope: &Scope) -> BTreeMap<Host, BTreeSet<String>> {
    let mut hosts: BTreeMap<Host, BTreeSet<String>> = BTreeMap::new();
    let counted = scope.counters().and_then(|directory| read_all(&directory).ok());
    for handler in counted.into_iter().flatten().filter(|handler| handler.name != OTHERS) {
        for host in &handler.hosts {
            let Ok(pid) = i32::try_from(host.pid) else {
                continue;
            };
            // The services' user can write any number there.
            if !process::is_host(pid) {
                continue;
            }
            let service = service_of(pid).filter(|unit| can_reload(unit, scope));
            let host = service.map_or(Host::Process(pid), Host::Service);
            hosts.entry(host).or_default().insert(handler.name.clone());
        }
    }
    hosts
}

/// The service that a process belongs to: the name of its control group (cgroups(7)).
fn service_of(pid: i32) -> Option<String> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
    let unit = path.rsplit('/').next()?;
    unit.ends_with(".service").then(|| unit.to_owned())
}

/// Has the service an `ExecReload=`?
fn can_reload(unit: &str, scope: &Scope) -> bool {
    let output = systemctl(scope)
        .args(["show", "--value", "-p", "CanReload", "--", unit])
        .stderr(Stdio::null())
        .output();
    output.is_ok_and(|output| output.stdout.starts_with(b"yes"))
}

fn systemctl(scope: &Scope) -> Command {
    let mut command = Command::new("systemctl");
    command.args(scope.user.then_some("--user")).stdin(Stdio::null());
    command
}
