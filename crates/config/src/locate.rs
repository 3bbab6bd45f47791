//! Search paths of the configuration and the modules: systemd's variables, system folders, XDG folders.

use std::collections::BTreeSet;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::valid_handler_name;

/// The environment that determines the search paths.
///
/// systemd names the folders it manages for a service in `$CONFIGURATION_DIRECTORY` and
/// `$STATE_DIRECTORY` (systemd.exec(5)); those win. Without them a system service uses
/// `/etc/wasm-sock` and `/var/lib/wasm-sock`, a user's own service `wasm-sock` under
/// `$XDG_CONFIG_HOME` (`~/.config`) and `$XDG_STATE_HOME` (`~/.local/state`).
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// Whether this process was started by a user or a user's service manager, and not by the system's.
    pub user_manager: bool,
    /// Looks up an environment variable: `&|name| std::env::var_os(name)`.
    pub variable: &'a dyn Fn(&str) -> Option<OsString>,
}

/// `StateDirectory=` of the units that are shipped. It has only what the service writes: modules are beside it, and
/// belong to root. (A user's manager had it below `$XDG_CONFIG_HOME` before systemd 254.)
const SHIPPED: &str = "wasm-sock/state";

impl Environment<'static> {
    /// The environment of this process; `is_root`: does it run as root?
    pub fn current(is_root: bool) -> Self {
        Self {
            // The system's manager runs services with neither, unless told to; a user's always has one.
            user_manager: !is_root && env::var_os("XDG_RUNTIME_DIR").is_some(),
            variable: &|name| env::var_os(name),
        }
    }
}

impl Environment<'_> {
    /// The `wasm-sock.toml` to read if it exists. `None`: a user without a home.
    pub fn main_file(&self) -> Option<PathBuf> {
        let folder = match self.systemd_folder("CONFIGURATION_DIRECTORY") {
            Some(folder) => Some(folder),
            None if self.user_manager => self.xdg("XDG_CONFIG_HOME", ".config"),
            None => Some(PathBuf::from("/etc/wasm-sock")),
        };
        Some(folder?.join("wasm-sock.toml"))
    }

    /// The modules' folder unless `[host] modules` says otherwise.
    pub fn modules_directory(&self) -> PathBuf {
        let folder = match self.systemd_folder("STATE_DIRECTORY") {
            Some(folder) if !folder.ends_with(SHIPPED) => Some(folder),
            _ if self.user_manager => self.xdg("XDG_STATE_HOME", ".local/state"),
            _ => None,
        };
        // A user without a home gets the system's folder too: messages need an absolute path.
        folder
            .unwrap_or_else(|| PathBuf::from("/var/lib/wasm-sock"))
            .join("modules")
    }

    /// The folder in which people keep the credentials of services: the system's, which systemd searches itself, or
    /// the user's. `None`: a user without a home.
    pub fn credential_store(&self) -> Option<PathBuf> {
        match self.user_manager {
            true => Some(self.xdg_base("XDG_CONFIG_HOME", ".config")?.join("credstore")),
            false => Some(PathBuf::from("/etc/credstore")),
        }
    }

    /// The folder with a folder for each handler, in which it keeps its state. `None`: a user without a home.
    pub fn state_directory(&self) -> Option<PathBuf> {
        match self.systemd_folder("STATE_DIRECTORY") {
            Some(folder) if folder.ends_with(SHIPPED) => Some(folder),
            Some(folder) => Some(folder.join("state")),
            None if self.user_manager => Some(self.xdg("XDG_STATE_HOME", ".local/state")?.join("state")),
            None => Some(Path::new("/var/lib").join(SHIPPED)),
        }
    }

    /// systemd joins several folders with `:`. The first one counts: it stands first in the unit.
    fn systemd_folder(&self, variable: &str) -> Option<PathBuf> {
        let value = (self.variable)(variable)?;
        let first = value.as_bytes().split(|&byte| byte == b':').next()?;
        absolute(OsStr::from_bytes(first))
    }

    fn xdg(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        Some(self.xdg_base(variable, below_home)?.join("wasm-sock"))
    }

    /// The XDG base directory specification: a relative path counts as unset.
    fn xdg_base(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let set = (self.variable)(variable).and_then(|value| absolute(&value));
        match set {
            Some(base) => Some(base),
            None => Some(absolute(&(self.variable)("HOME")?)?.join(below_home)),
        }
    }
}

fn absolute(path: &OsStr) -> Option<PathBuf> {
    let path = Path::new(path);
    path.is_absolute().then(|| path.to_owned())
}

/// The existing files `NAME.toml` in `folder` for these names. Hidden files are left out, as in [`drop_ins`].
pub(super) fn drop_ins_of(names: &BTreeSet<&str>, folder: &Path) -> Vec<PathBuf> {
    let visible = names
        .iter()
        .filter(|name| valid_handler_name(name) && !name.starts_with('.'));
    let files = visible.map(|name| folder.join(format!("{name}.toml")));
    // A dangling symbolic link is kept, so that it is reported as an error.
    files.filter(|file| file.symlink_metadata().is_ok()).collect()
}

/// The `*.toml` in `folder`, sorted by name; none if there is no such folder.
///
/// Hidden files are left out, as everywhere under `/etc`: editors and package managers put
/// unfinished copies there.
pub(super) fn drop_ins(folder: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let unreadable = |error: io::Error| ConfigError::unreadable_folder(folder, &error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry.map_err(unreadable)?.file_name();
        let hidden = name.as_bytes().starts_with(b".");
        if !hidden && name.as_bytes().ends_with(b".toml") {
            files.push(folder.join(name));
        }
    }
    files.sort_unstable();
    Ok(files)
}

/// The names of the modules in `folder`, in either form. Hidden files are left out.
pub(super) fn modules(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let extension = path.extension().and_then(OsStr::to_str);
        if let Some(name) = path.file_stem().and_then(OsStr::to_str)
            && matches!(extension, Some("wasm" | "cwasm"))
            && !name.starts_with('.')
        {
            names.push(name.to_owned());
        }
    }
    Ok(names)
}
