//! For whom a service is installed: for the system, or for a user (`--user`); and where its files are.

use super::interrupt::Interrupts;
use super::systemd::Systemd;
use rustix::process::geteuid;
use std::collections::BTreeMap;
use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use wasm_sock_config::Environment;

/// systemd runs on this machine if this folder is there (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";

/// The system, or a user.
#[derive(Debug)]
pub struct Scope {
    pub systemd: Systemd,
    /// What the user's manager gives to services; empty for the system.
    environment: BTreeMap<String, String>,
    pub places: Places,
}

/// Folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// `/etc/wasm-sock`: has `wasm-sock.toml` and `handlers.d`.
    pub configuration: PathBuf,
    /// `/var/lib/wasm-sock`
    pub state: PathBuf,
    /// `/var/cache/wasm-sock/modules`
    pub cache: PathBuf,
    /// `/run/wasm-sock`
    pub runtime: PathBuf,
}

impl Scope {
    /// The system (for root), or the user who runs this.
    ///
    /// # Errors
    /// When systemd does not run or cannot be reached, or rights are missing: what to do instead.
    pub fn new(user: bool, is_dry_run: bool, interrupts: &Interrupts) -> Result<Self, String> {
        if !Path::new(BOOTED).is_dir() {
            return Err(
                "systemd does not run on this machine (to serve without it: `wasm-sock run FILE`)".to_owned(),
            );
        }
        let systemd = Systemd {
            user,
            interrupts: interrupts.clone(),
        };
        match (user, geteuid().is_root()) {
            (true, true) => Err("--user: root's services are the system's (leave --user out)".to_owned()),
            (true, false) => {
                let environment = user_environment(&systemd)?;
                let places = Places::of_user(&environment)?;
                Ok(Self {
                    systemd,
                    environment,
                    places,
                })
            }
            (false, false) if !is_dry_run => Err(
                "only root can install services for the system (use sudo, or --user for services of your own)"
                    .to_owned(),
            ),
            (false, _) => Ok(Self {
                systemd,
                environment: BTreeMap::new(),
                places: Places::of_system(),
            }),
        }
    }

    /// Calls `use_it` with the environment in which a host of this scope looks for its configuration.
    pub fn with_environment<R>(&self, use_it: impl FnOnce(&Environment<'_>) -> R) -> R {
        let variable = |name: &str| self.environment.get(name).map(OsString::from);
        use_it(&Environment {
            user_manager: self.systemd.user,
            variable: &variable,
        })
    }
}

/// The environment of the user's manager.
fn user_environment(systemd: &Systemd) -> Result<BTreeMap<String, String>, String> {
    let user = geteuid().as_raw();
    let unreachable = |why: &str| {
        format!(
            "the service manager of user {user} does not answer: {why}\n\
             (log in anew: by ssh, at the console, or with\n  \
             machinectl shell --uid={user}\n\
             `su` and `sudo` open no session. Or have it run always, and say where it is:\n  \
             sudo loginctl enable-linger {user}\n  \
             export XDG_RUNTIME_DIR=/run/user/{user})"
        )
    };
    if env::var_os("XDG_RUNTIME_DIR").is_none() {
        return Err(unreachable("$XDG_RUNTIME_DIR is not set"));
    }
    systemd.environment().map_err(|why| unreachable(&why))
}

impl Places {
    fn of_system() -> Self {
        Self {
            configuration: "/etc/wasm-sock".into(),
            state: "/var/lib/wasm-sock".into(),
            cache: "/var/cache/wasm-sock/modules".into(),
            runtime: "/run/wasm-sock".into(),
        }
    }

    /// The folders of a user, as the user's services see them (`file-hierarchy(7)`).
    fn of_user(environment: &BTreeMap<String, String>) -> Result<Self, String> {
        let folder = |variable: &str, below_home: &str| {
            let set = environment.get(variable).filter(|path| path.starts_with('/'));
            let home = || environment.get("HOME").filter(|path| path.starts_with('/'));
            let base = set
                .map(PathBuf::from)
                .or_else(|| Some(Path::new(home()?).join(below_home)));
            base.map(|base| base.join("wasm-sock"))
                .ok_or_else(|| format!("your service manager knows neither ${variable} nor $HOME (set HOME)"))
        };
        Ok(Self {
            configuration: folder("XDG_CONFIG_HOME", ".config")?,
            state: folder("XDG_STATE_HOME", ".local/state")?,
            cache: folder("XDG_CACHE_HOME", ".cache")?.join("modules"),
            runtime: folder("XDG_RUNTIME_DIR", ".")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_folders_of_the_managers_environment() {
        let environment = [
            ("HOME", "/home/ada"),
            ("XDG_STATE_HOME", "/srv/ada"),
            ("XDG_CONFIG_HOME", "relative"),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let places = Places::of_user(&environment.into()).unwrap();
        assert_eq!(places.configuration, Path::new("/home/ada/.config/wasm-sock"));
        assert_eq!(places.state, Path::new("/srv/ada/wasm-sock"));
        assert_eq!(places.cache, Path::new("/home/ada/.cache/wasm-sock/modules"));
    }
}
