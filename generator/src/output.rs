//! The folder that systemd gave, into which units are written.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use wasm_sock_units::Unit;

pub struct Output {
    folder: PathBuf,
    /// The folders in it that have been made.
    made: HashSet<String>,
}

impl Output {
    pub fn new(folder: &Path) -> Output {
        Output {
            folder: folder.to_owned(),
            made: HashSet::new(),
        }
    }

    /// Writes a unit, and links it to the target that wants it.
    ///
    /// # Errors
    /// When that fails. A unit that is there already is not replaced: another generator made it.
    pub fn write(&mut self, unit: &Unit) -> io::Result<()> {
        if let Some((folder, _)) = unit.name.split_once('/') {
            self.make(folder)?;
        }
        File::create_new(self.folder.join(&unit.name))?.write_all(unit.text.as_bytes())?;
        if let Some(target) = unit.wanted_by {
            let wants = format!("{target}.wants");
            self.make(&wants)?;
            symlink(
                Path::new("..").join(&unit.name),
                self.folder.join(wants).join(&unit.name),
            )?;
        }
        Ok(())
    }

    fn make(&mut self, name: &str) -> io::Result<()> {
        if !self.made.contains(name) {
            match fs::create_dir(self.folder.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => self.made.insert(name.to_owned()),
            };
        }
        Ok(())
    }
}
