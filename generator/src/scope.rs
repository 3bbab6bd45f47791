//! For which service manager units are made, and which units people have written for it.

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use wasm_sock_units::Installation;

/// Looks up an environment variable.
type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

pub struct Scope {
    /// A user's own service manager.
    pub is_user: bool,
    /// Where wasm-sock is installed.
    prefix: PathBuf,
    /// The folders whose units are preferred to generated ones.
    folders: Vec<PathBuf>,
    /// The folder of a user's own settings.
    config_home: Option<PathBuf>,
}

impl Scope {
    /// systemd tells in `$SYSTEMD_SCOPE` (251 and newer), and starts the program below `system-generators` or
    /// `user-generators` of `PREFIX/lib/systemd`.
    pub fn find(program: &Path, variable: Variables<'_>) -> Scope {
        let folder = program.parent().unwrap_or(Path::new("/"));
        let is_user = match variable("SYSTEMD_SCOPE") {
            Some(scope) => scope == "user",
            None => folder.ends_with("user-generators"),
        };
        let is_installed =
            folder.ends_with("lib/systemd/user-generators") || folder.ends_with("lib/systemd/system-generators");
        let prefix = folder.ancestors().nth(3).filter(|_| is_installed);
        let prefix = match prefix {
            // /lib is a link to /usr/lib, if it is there.
            Some(prefix) if prefix != Path::new("/") => prefix,
            _ => Path::new("/usr"),
        };
        Scope {
            is_user,
            prefix: prefix.to_owned(),
            folders: if is_user {
                user_folders(variable)
            } else {
                system_folders()
            },
            config_home: config_home(variable).filter(|_| is_user),
        }
    }

    pub fn installation(&self) -> Installation<'_> {
        Installation {
            prefix: &self.prefix,
            is_user: self.is_user,
            config_home: self.config_home.as_deref(),
        }
    }

    /// The names of all units that people, or programs on their behalf, have written; masked ones are among them.
    pub fn written_units(&self) -> HashSet<String> {
        let entries = self.folders.iter().filter_map(|folder| fs::read_dir(folder).ok());
        let names = entries.flatten().flatten().map(|entry| entry.file_name());
        names.filter_map(|name| name.into_string().ok()).collect()
    }
}

/// systemd.unit(5), *Unit File Load Path*: all that is before `/run/systemd/generator`.
fn system_folders() -> Vec<PathBuf> {
    let folders = [
        "/etc/systemd/system.control",
        "/run/systemd/system.control",
        "/run/systemd/transient",
    ];
    let folders = folders
        .into_iter()
        .chain(["/etc/systemd/system", "/run/systemd/system"]);
    folders.map(PathBuf::from).collect()
}

fn absolute(variable: Variables<'_>, name: &str) -> Option<PathBuf> {
    variable(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The XDG base directory specification.
fn config_home(variable: Variables<'_>) -> Option<PathBuf> {
    let home = || absolute(variable, "HOME").map(|home| home.join(".config"));
    absolute(variable, "XDG_CONFIG_HOME").or_else(home)
}

fn user_folders(variable: Variables<'_>) -> Vec<PathBuf> {
    let mut folders = vec![PathBuf::from("/etc/systemd/user"), PathBuf::from("/run/systemd/user")];
    let runtime = absolute(variable, "XDG_RUNTIME_DIR");
    for base in [config_home(variable), runtime.clone()].into_iter().flatten() {
        folders.push(base.join("systemd/user"));
        folders.push(base.join("systemd/user.control"));
    }
    folders.extend(runtime.map(|base| base.join("systemd/transient")));
    folders
}
