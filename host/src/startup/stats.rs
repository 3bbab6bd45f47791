//! The counters of this host, in `$RUNTIME_DIRECTORY` (`RuntimeDirectory=` of the service, `systemd.exec(5)`).

use super::Plan;
use crate::activation::{Passed, handler_name};
use crate::journal::{self, Level};
use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;
use wasm_sock_stats::{DIRECTORY, Table, make_directory};

/// The directory of the counters. `None`: the service has no directory for run-time files, and nothing is counted.
pub fn directory() -> Option<PathBuf> {
    let directories = env::var_os("RUNTIME_DIRECTORY")?;
    // Several are separated by colons.
    let first = env::split_paths(&directories).next()?;
    first.is_absolute().then(|| first.join(DIRECTORY))
}

/// Opens the counters of the handlers that are served, before the sandbox: nothing of the directory is granted in it.
/// After the compile process was forked, which would keep the lock on this process's place.
///
/// A failure is logged: the handlers are served all the same.
pub fn open(passed: &Passed, plan: &Plan) -> Option<Table> {
    let directory = directory()?;
    let names: BTreeSet<&str> = passed.sockets.iter().map(|socket| handler_name(&socket.name)).collect();
    let counted: BTreeSet<&str> = names.iter().copied().filter(|name| !plan.is_metrics(name)).collect();
    let failed = |why: &dyn std::fmt::Display| {
        let message = format_args!("nothing is counted: {why} (see RuntimeDirectory= in the service)");
        journal::log(Level::Warning, message);
    };
    if counted.len() < names.len() {
        // The sandbox cannot allow what is not there.
        if let Err(error) = make_directory(&directory) {
            failed(&format_args!("{}: {error}", directory.display()));
        }
    }
    if counted.is_empty() {
        return None;
    }
    Table::open(&directory, counted).inspect_err(|error| failed(error)).ok()
}
