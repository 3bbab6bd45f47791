//! `--print-sandbox`: prints what the sandbox allows: files, ports, system calls.

use super::needs::{Needs, Use};
use super::{landlock, seccomp};
use std::fmt::{self, Display, Formatter};
use wasm_sock_seccomp::lists::Call;

impl Display for Needs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "Landlock: {}", landlock::found())?;
        writeln!(f, "\nfiles (everything else is refused):")?;
        for (path, access) in &self.paths {
            let access = match access {
                Use::Read => "read",
                Use::List => "read, list",
                Use::Write => "read, list, write",
            };
            let missing = if path.exists() { "" } else { " (not there)" };
            writeln!(f, "  {}: {access}{missing}", path.display())?;
        }
        writeln!(f, "  no program is run")?;
        if self.compiles {
            writeln!(
                f,
                "  (a process beside it compiles: it reads the modules, writes the cache, and runs wasm-sock-compile, which can touch nothing but the module)"
            )?;
        }
        writeln!(f, "\nTCP ports:")?;
        if self.any_port {
            writeln!(f, "  connect to any")?;
        } else if self.ports.is_empty() {
            writeln!(f, "  none: no sockets are made")?;
        } else {
            writeln!(f, "  connect to {}", joined(&self.ports))?;
        }
        if self.names {
            writeln!(f, "  names are asked for by UDP")?;
        }
        writeln!(f, "\nsystem calls (all others fail with EPERM):")?;
        for (index, list) in seccomp::variant(self).lists().iter().enumerate() {
            let and = if index == 0 { "" } else { "and " };
            writeln!(f, "  {and}{}", names(list))?;
        }
        writeln!(f, "  * with some arguments only")
    }
}

fn names(calls: &[Call]) -> String {
    let name = |call: &Call| {
        let mark = if call.conditions.is_empty() { "" } else { "*" };
        format!("{}{mark}", call.name)
    };
    calls.iter().map(name).collect::<Vec<_>>().join(" ")
}

fn joined(ports: impl IntoIterator<Item = impl Display>) -> String {
    let ports = ports.into_iter().map(|port| port.to_string());
    ports.collect::<Vec<_>>().join(", ")
}
