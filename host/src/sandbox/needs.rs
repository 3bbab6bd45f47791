//! What the host needs for its handlers, from which the sandbox is made: paths, the way out, the compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

/// The access that is needed to a path and everything beneath it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Reading files, without listing folders.
    Read,
    /// Reading files and listing folders.
    List,
    /// Reading, listing and changing.
    Write,
}

impl Display for Use {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::List => "read and list",
            Self::Write => "read, list and write",
        })
    }
}

/// What the process may do beyond serving the sockets it has.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Needs {
    pub paths: BTreeMap<PathBuf, Use>,
    /// Folders of these that handlers keep their state in, and that are made if they are not there.
    pub state: BTreeSet<PathBuf>,
    /// Do guests reach out, through `wasm-sock-egress`?
    pub reaches_out: bool,
    /// May the compile process have to compile something?
    pub compiles: bool,
    /// The path of the compiler, for the process that executes it.
    pub compiler: Option<PathBuf>,
}

impl Needs {
    /// Adds read access to the cache, which the compile process writes.
    pub fn add_cache(&mut self, directory: &Path) {
        self.grant(directory, Use::Read);
    }

    /// Adds what is read again on a reload: a folder, in which files are replaced by others of the same name, or a file.
    pub fn add_configuration(&mut self, path: &Path) {
        self.grant(path, Use::Read);
    }

    /// Adds a directory that a guest may open.
    pub fn add_path(&mut self, path: &Path, access: Use) {
        self.grant(path, access);
    }

    /// Adds a file that is read for a guest. Another file of the same name is for the next host.
    pub fn add_file(&mut self, file: &Path) {
        self.grant(file, Use::Read);
    }

    /// Adds the folder that a handler keeps its state in.
    pub fn add_state(&mut self, folder: PathBuf) {
        self.grant(&folder, Use::Write);
        self.state.insert(folder);
    }

    /// Adds reaching out, through `wasm-sock-egress`.
    pub fn add_reaching_out(&mut self) {
        self.reaches_out = true;
    }

    /// Adds a handler's module, which is one of these files.
    pub fn add_module(&mut self, artifact: &Path, wasm: &Path) {
        let is_compiled = self.module(artifact);
        let is_source = self.module(wasm);
        // A module that does not exist yet may be installed as either file.
        self.compiles |= is_source || !is_compiled;
    }

    /// What a process with `more` needs that one with these has not, in words; `None`: nothing.
    pub fn lacks(&self, more: &Self) -> Option<String> {
        let path = more.paths.iter().find(|(path, access)| !self.has(path, **access));
        if let Some((path, access)) = path {
            return Some(format!("to {access} {}", path.display()));
        }
        if more.reaches_out && !self.reaches_out {
            return Some("to reach out (`allow-outbound`)".to_owned());
        }
        (more.compiles && !self.compiles).then(|| "to compile its module".to_owned())
    }

    /// Is there this access to a path, or to a folder above it? By name: a path with `..` may lead anywhere, and what
    /// is a link is found out when it is followed.
    fn has(&self, path: &Path, access: Use) -> bool {
        let climbs = path.components().any(|part| part == Component::ParentDir);
        let granted = |path| self.paths.get(path).is_some_and(|granted: &Use| *granted >= access);
        granted(path) || (!climbs && path.ancestors().any(granted))
    }

    /// Adds a file that may be replaced by another one of the same name. Returns whether it exists.
    fn module(&mut self, file: &Path) -> bool {
        self.folder_of(file);
        let target = match fs::read_link(file) {
            Ok(_) => fs::canonicalize(file),
            // readlink(2) fails so for a file that is no symbolic link.
            Err(error) => return error.kind() == ErrorKind::InvalidInput,
        };
        if let Ok(target) = &target {
            self.folder_of(target);
        }
        target.is_ok()
    }

    /// Adds the folder instead of the file, because a rule for a file does not apply to its replacement. Not for the
    /// root folder.
    fn folder_of(&mut self, file: &Path) {
        match file.parent() {
            Some(folder) if folder.parent().is_some() => self.grant(folder, Use::Read),
            _ => self.grant(file, Use::Read),
        }
    }

    fn grant(&mut self, path: &Path, access: Use) {
        match self.paths.get_mut(path) {
            Some(granted) => *granted = access.max(*granted),
            None => drop(self.paths.insert(path.to_owned(), access)),
        }
    }
}

#[cfg(test)]
mod tests;
