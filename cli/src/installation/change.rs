//! A change that happens wholly or not at all: files, then systemd, then the proof that it works, then one rename.

use super::durable;
use super::record::{Record, Replaced, Undo};
use super::store::Store;
use super::systemd::Manager;
use std::fs;
use std::path::PathBuf;

/// A change of a handler's files and units.
#[derive(Debug, Default)]
pub struct Change {
    /// What will be installed.
    pub record: Record,
    /// The files in the order in which they get their names. `None`: removed, else the new file, in [`Store::pending`].
    pub files: Vec<(PathBuf, Option<PathBuf>)>,
    /// Folders to make if they are missing, each after those above it.
    pub folders: Vec<PathBuf>,
    /// Units that are stopped: they are gone, or have changed.
    pub stop: Vec<String>,
    /// Running services that hold a socket which is stopped: stopped as well, between `stop` and `start`.
    pub restart: Vec<String>,
    /// Units that are started: they are new, or have changed.
    pub start: Vec<String>,
    /// Running services whose settings have changed.
    pub reload: Vec<String>,
    /// Units that were active before: those that are stopped, and those that systemd stops with them (`PartOf=`).
    pub were_active: Vec<String>,
}

/// Told of each step before it is done; with an error, the change is taken back.
pub type Checkpoint<'a> = &'a dyn Fn(&str) -> Result<(), String>;

impl Change {
    /// Makes the change; `prove` shows that it works. After an error everything is as before.
    ///
    /// # Errors
    /// What failed; and what failed when it was taken back, which the next command tries again.
    pub fn apply<P>(
        &self,
        store: &Store,
        manager: &dyn Manager,
        checkpoint: Checkpoint<'_>,
        prove: impl FnOnce() -> Result<P, String>,
    ) -> Result<P, String> {
        let result = self.carry_out(store, manager, checkpoint, prove);
        result.map_err(|why| {
            store.interrupts.ignore();
            match store.take_back(manager) {
                Ok(()) => why,
                Err(also) => format!(
                    "{why}\nand taking it back failed: {also} (the next install or uninstall tries that again)"
                ),
            }
        })
    }

    fn carry_out<P>(
        &self,
        store: &Store,
        manager: &dyn Manager,
        checkpoint: Checkpoint<'_>,
        prove: impl FnOnce() -> Result<P, String>,
    ) -> Result<P, String> {
        checkpoint("keep the former files")?;
        let undo = self.undo(store)?;
        store.write(&self.record, &undo, checkpoint)?;
        self.replace_files(checkpoint)?;
        checkpoint("have systemd read its units")?;
        manager.daemon_reload()?;
        if !self.stop.is_empty() || !self.restart.is_empty() {
            checkpoint("stop what is gone")?;
            manager.stop(&self.stop)?;
            manager.stop(&self.restart)?;
        }
        if !self.start.is_empty() {
            checkpoint("start what is new")?;
            manager.start(&self.start)?;
        }
        for service in &self.reload {
            checkpoint("reload the running service")?;
            manager.reload(service)?;
        }
        checkpoint("prove that it works")?;
        let proof = prove()?;
        checkpoint("commit")?;
        store.commit(&self.record.handler)?;
        Ok(proof)
    }

    /// How to take the change back. Keeps the former files.
    fn undo(&self, store: &Store) -> Result<Undo, String> {
        let mut files = Vec::new();
        for (number, (path, _)) in self.files.iter().enumerate() {
            let kept = store.pending().join(format!("former-{number}"));
            let former = match fs::symlink_metadata(path) {
                Err(_) => None,
                Ok(_) => {
                    durable::keep(path, &kept).map_err(|error| format!("cannot keep {}: {error}", path.display()))?;
                    Some(kept)
                }
            };
            let path = path.clone();
            files.push(Replaced { path, former });
        }
        // A unit that has changed is stopped and started under the same name: when taken back, too.
        let started = self
            .start
            .iter()
            .filter(|unit| !self.were_active.contains(unit) || self.stop.contains(unit));
        let stopped = self.were_active.iter().filter(|_| !self.stop.is_empty());
        Ok(Undo {
            handler: self.record.handler.clone(),
            files,
            folders: self.folders.iter().filter(|folder| !folder.exists()).cloned().collect(),
            started: started.cloned().collect(),
            stopped: stopped.cloned().collect(),
            services: self.record.services.iter().chain(&self.restart).cloned().collect(),
        })
    }

    fn replace_files(&self, checkpoint: Checkpoint<'_>) -> Result<(), String> {
        for folder in &self.folders {
            checkpoint("make a folder")?;
            durable::make_folder(folder, 0o755).map_err(|error| format!("{}: {error}", folder.display()))?;
        }
        for (path, new) in &self.files {
            checkpoint("replace a file")?;
            let replaced = match new {
                Some(new) => durable::rename(new, path),
                None => durable::remove_if_there(path).map(|_| ()),
            };
            replaced.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
