//! What a host needs for its handlers, as the sandbox sees it: paths, ports, a compiler.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// What a path is needed for, below it, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Use {
    /// Its files are read by those who know their names.
    Read,
    /// Its folders are listed, too.
    List,
    /// And all of it is changed.
    Write,
}

/// What the process may do beyond serving the sockets it has.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Needs {
    pub paths: BTreeMap<PathBuf, Use>,
    /// TCP ports that it connects to.
    pub ports: BTreeSet<u16>,
    /// And any other: there are too many for rules about single ports.
    pub any_port: bool,
    /// Does it ask for the addresses of names?
    pub names: bool,
    /// Is there anything to compile, by a process beside it?
    pub compiles: bool,
    /// The compiler, for the process that becomes it.
    pub compiler: Option<PathBuf>,
}

/// What names are resolved with. Each may be a link: systemd-resolved's is.
pub const RESOLVER: [&str; 2] = ["/etc/hosts", "/etc/resolv.conf"];

/// What answers about names listens to (RFC 1035), by TCP when the answer is long.
const DOMAIN: u16 = 53;

/// The kernel takes each port as a rule of its own, at 1 µs.
const MOST_PORTS: usize = 128;

impl Needs {
    /// What it needs to load compiled modules from this directory. Another process keeps them there.
    pub fn add_cache(&mut self, directory: &Path) {
        self.grant(directory, Use::Read);
    }

    /// A directory that a guest may open.
    pub fn add_path(&mut self, path: &Path, access: Use) {
        self.grant(path, access);
    }

    /// TCP ports that a guest may connect to.
    pub fn add_ports(&mut self, ports: RangeInclusive<u16>) {
        self.any_port |= ports.len() > MOST_PORTS;
        self.ports.extend(ports.take(MOST_PORTS));
        self.any_port |= self.ports.len() > MOST_PORTS;
    }

    /// The addresses of names.
    pub fn add_names(&mut self) {
        self.names = true;
        self.add_ports(DOMAIN..=DOMAIN);
    }

    /// A handler's module: an artifact or a `.wasm`, one of these files.
    pub fn add_module(&mut self, artifact: &Path, wasm: &Path) {
        let is_compiled = self.module(artifact);
        let is_source = self.module(wasm);
        // What is not there yet may come in either form.
        self.compiles |= is_source || !is_compiled;
    }

    /// What it needs to resolve names, if it does.
    pub fn add_resolver(&mut self) {
        if self.names {
            for file in RESOLVER {
                self.file(Path::new(file));
            }
        }
    }

    /// A file that may be replaced by another one of the same name. Tells whether it is there.
    fn module(&mut self, file: &Path) -> bool {
        self.folder_of(file);
        let target = match fs::read_link(file) {
            Ok(_) => fs::canonicalize(file),
            // This is what readlink(2) says of a file that is no link.
            Err(error) => return error.kind() == ErrorKind::InvalidInput,
        };
        if let Ok(target) = &target {
            self.folder_of(target);
        }
        target.is_ok()
    }

    /// The folder and not the file, which would be granted as it is now. But not all that there is.
    fn folder_of(&mut self, file: &Path) {
        match file.parent() {
            Some(folder) if folder.parent().is_some() => self.grant(folder, Use::Read),
            _ => self.grant(file, Use::Read),
        }
    }

    /// A file of the system, and where it is really, which is a folder of its own.
    fn file(&mut self, file: &Path) {
        self.grant(file, Use::Read);
        if fs::read_link(file).is_ok()
            && let Ok(target) = fs::canonicalize(file)
        {
            self.folder_of(&target);
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
