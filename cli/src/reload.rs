//! `wasm-sock reload`: has running hosts read their configuration again.

mod process;
mod services;

use crate::{CommandError, absolute};
use rustix::process::geteuid;
use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;
use wasm_sock_config::{Config, Environment};
use wasm_sock_stats::DIRECTORY;

/// The arguments of `wasm-sock reload`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Reload {
    /// The handlers whose services are reloaded [default: all that run]
    #[arg(value_name = "NAME", conflicts_with_all = ["pid", "handlers"], add = crate::completions::handlers())]
    names: Vec<String>,
    /// Reload this host (for ExecReload=)
    #[arg(long, value_name = "PID", value_parser = clap::value_parser!(i32).range(2..))]
    pid: Option<i32>,
    /// With --pid: a handler of this host, if it cannot tell
    #[arg(long = "handler", value_name = "NAME", requires = "pid")]
    handlers: Vec<String>,
    /// Your own services [default: unless you are root]
    #[arg(long)]
    user: bool,
    /// Check this file, and handlers.d/*.toml beside it [default: /etc/wasm-sock/wasm-sock.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Reloads one host, or the services of handlers.
///
/// # Errors
/// The mistakes in the configuration; or why a host did not apply it.
pub fn run(arguments: &Reload) -> Result<(), CommandError> {
    let scope = Scope {
        // A service manager's `ExecReload=` has a process to reload; people who are not root have services of their own.
        user: arguments.user || arguments.pid.is_none() && !geteuid().is_root(),
        config: arguments.config.clone().map(absolute).transpose()?,
    };
    match arguments.pid {
        Some(pid) => process::reload(pid, &arguments.handlers, &scope),
        None => services::reload(&arguments.names, &scope),
    }
}

/// Whose hosts, and which configuration.
struct Scope {
    /// Those of the user's own service manager.
    user: bool,
    config: Option<PathBuf>,
}

impl Scope {
    /// Checks the configuration of these handlers, as their host will read it.
    ///
    /// # Errors
    /// All mistakes that keep the host from applying it. One in the table of another handler does not.
    fn check(&self, names: &BTreeSet<String>) -> Result<(), CommandError> {
        let (names_of, config) = (names.iter().map(String::as_str).collect(), self.config.as_deref());
        let read = Config::load_only(&names_of, config, &self.environment());
        read.map(drop).map_err(CommandError::Configuration)
    }

    fn environment(&self) -> Environment<'static> {
        let environment = Environment::current(geteuid().is_root());
        Environment {
            user_manager: environment.user_manager || self.user,
            ..environment
        }
    }

    /// The directory of the hosts' counters, which also tell what became of a reload. `None`: it is not known.
    fn counters(&self) -> Option<PathBuf> {
        if let Some(directories) = env::var_os("RUNTIME_DIRECTORY") {
            // As `ExecReload=` gets it; several are separated by colons.
            return Some(env::split_paths(&directories).next()?.join(DIRECTORY));
        }
        let runtime = match self.user {
            true => PathBuf::from(env::var_os("XDG_RUNTIME_DIR")?),
            false => PathBuf::from("/run"),
        };
        Some(runtime.join("wasm-sock").join(DIRECTORY))
    }
}
