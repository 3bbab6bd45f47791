//! Whose services a command is about: the system's, or those of a user's own service manager.

use clap::Args;
use std::env;
use std::path::{Path, PathBuf};
use wasm_sock_config::Environment;

/// The options for it, which several commands share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Args)]
pub struct Scope {
    /// Those of your own service manager [default unless root]
    #[arg(long, conflicts_with = "system")]
    user: bool,
    /// Those of the system [default for root]
    #[arg(long)]
    system: bool,
}

impl Scope {
    /// Is it about a user's own service manager?
    pub fn is_user(self) -> bool {
        self.user || !self.system && !rustix::process::geteuid().is_root()
    }

    /// The environment that decides where the configuration is.
    pub fn environment(self) -> Environment<'static> {
        Environment {
            user_manager: self.is_user(),
            variable: &|name| env::var_os(name),
        }
    }

    /// The directory of run-time files of the services (`RuntimeDirectory=`).
    pub fn runtime_directory(self) -> PathBuf {
        match self.is_user() {
            false => PathBuf::from("/run/wasm-sock"),
            true => user_runtime_directory().join("wasm-sock"),
        }
    }

    /// The directory of the counters.
    pub fn stats_directory(self) -> PathBuf {
        self.runtime_directory().join(wasm_sock_stats::DIRECTORY)
    }

    /// The directories of unit files, those that win first (`systemd.unit(5)`).
    pub fn unit_directories(self) -> Vec<PathBuf> {
        let system = ["/etc", "/run", "/usr/local/lib", "/usr/lib"];
        let directories = |of: &str| system.map(|base| Path::new(base).join("systemd").join(of));
        match self.is_user() {
            false => directories("system").into(),
            true => {
                let home = env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
                let config = env::var_os("XDG_CONFIG_HOME").map_or_else(|| home.join(".config"), PathBuf::from);
                let own = [config, user_runtime_directory(), home.join(".local/share")];
                let own = own.into_iter().map(|base| base.join("systemd/user"));
                own.chain(directories("user")).collect()
            }
        }
    }
}

fn user_runtime_directory() -> PathBuf {
    let default = || PathBuf::from(format!("/run/user/{}", rustix::process::geteuid().as_raw()));
    env::var_os("XDG_RUNTIME_DIR").map_or_else(default, PathBuf::from)
}
