//! `--print-sandbox`: prints what the sandbox allows: files, ports, system calls.

use super::needs::{Needs, Use};
use super::{landlock, seccomp};
use rustix::process::geteuid;
use std::fmt::{self, Display, Formatter};
use wasm_sock_egress_protocol::socket_path;
use wasm_sock_seccomp::LACKS;
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
        writeln!(f, "\nTCP ports:\n  none: no sockets are made")?;
        if self.reaches_out {
            writeln!(
                f,
                "  (guests reach out through wasm-sock-egress, at {}: to it one socket is connected)",
                socket_path(geteuid().is_root()).display()
            )?;
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
    let calls = calls.iter().filter(|call| !LACKS.contains(&call.name));
    calls.map(name).collect::<Vec<_>>().join(" ")
}
