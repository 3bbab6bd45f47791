//! The folder `STATE/install`: what is installed, and the change that is under way.

use super::interrupt::Interrupts;
use super::lock::Lock;
use super::record::{self, Installed, Record, Undo};
use super::removal;
use super::scope::Places;
use super::systemd::Manager;
use super::{cache, durable};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const RECORD: &str = "record.json";
const UNDO: &str = "undo.json";

/// The folder, locked.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    pub places: Places,
    pub interrupts: Interrupts,
    pub lock: Lock,
}

impl Store {
    /// Locks the folder, and puts in order what a command that was killed has left; `say` gets a message of that.
    ///
    /// # Errors
    /// When the folder cannot be written, or that cannot be put in order.
    pub fn open(
        places: &Places,
        manager: &dyn Manager,
        interrupts: &Interrupts,
        say: &dyn Fn(&str),
    ) -> Result<Self, String> {
        let folder = places.state.join("install");
        let lock = Lock::wait_for(&folder.join("lock"), interrupts, say)?;
        let store = Self {
            folder,
            places: places.clone(),
            interrupts: interrupts.clone(),
            lock,
        };
        store.recover(manager, say)?;
        Ok(store)
    }

    /// The file for the record of a handler that is installed, for reading without a lock.
    pub fn record_file(places: &Places, handler: &str) -> PathBuf {
        file_of(&places.state.join("install/installed"), handler)
    }

    fn recover(&self, manager: &dyn Manager, say: &dyn Fn(&str)) -> Result<(), String> {
        if self.pending().exists() {
            if let Some(undo) = self.undo()? {
                say(&format!("{}: taking back an install that was killed", undo.handler));
            }
            self.take_back(manager)?;
        }
        for is_purge in [false, true] {
            for name in self.names(Self::removing(is_purge)) {
                say(&format!("{name}: finishing an uninstall that was killed"));
                removal::finish(self, &name, is_purge, manager)?
                    .iter()
                    .for_each(|stays| say(stays));
            }
        }
        Ok(())
    }

    /// The folder of the change that is under way.
    pub fn pending(&self) -> PathBuf {
        self.folder.join("pending")
    }

    /// Makes [`Self::pending`], empty.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn prepare(&self) -> Result<PathBuf, String> {
        let pending = self.pending();
        let failed = |error| format!("{}: {error}", pending.display());
        durable::remove_tree(&pending).map_err(failed)?;
        durable::make_folder(&pending, 0o700).map_err(failed)?;
        Ok(pending)
    }

    /// Writes down a change before it begins.
    ///
    /// # Errors
    /// Those of the file system, and of `checkpoint`.
    pub fn write(
        &self,
        record: &Record,
        undo: &Undo,
        checkpoint: &dyn Fn(&str) -> Result<(), String>,
    ) -> Result<(), String> {
        let pending = self.pending();
        let failed = |error: io::Error| format!("{}: {error}", pending.display());
        let write = |name, value: Result<Vec<u8>, serde_json::Error>| {
            durable::write_whole(&pending.join(name), &value.map_err(io::Error::other)?, 0o600)
        };
        checkpoint("write down what will be installed")?;
        write(RECORD, serde_json::to_vec_pretty(record)).map_err(failed)?;
        checkpoint("write down how to take it back")?;
        write(UNDO, serde_json::to_vec_pretty(undo)).map_err(failed)
    }

    /// Makes the change final.
    ///
    /// # Errors
    /// Those of the file system; then it is not final.
    pub fn commit(&self, handler: &str) -> Result<(), String> {
        let installed = self.folder.join("installed");
        durable::make_folder(&installed, 0o700).map_err(|error| format!("{}: {error}", installed.display()))?;
        let record = self.pending().join(RECORD);
        let renamed = durable::rename(&record, &file_of(&installed, handler));
        renamed.map_err(|error| format!("{}: {error}", installed.display()))?;
        // What is left in it is of no use; the next command would remove it, too.
        let _ = durable::remove_tree(&self.pending());
        Ok(())
    }

    /// Takes back the change that is under way, if it is not final. May be repeated.
    ///
    /// # Errors
    /// What failed; then it is still written down.
    pub fn take_back(&self, manager: &dyn Manager) -> Result<(), String> {
        let pending = self.pending();
        let failed = |error| format!("{}: {error}", pending.display());
        let record: Option<Record> = record::read(&pending.join(RECORD))?;
        if let (Some(undo), Some(record)) = (self.undo()?, &record) {
            undo.take_back(manager)?;
            let gone: Vec<Installed> = record.files.iter().filter(|file| !file.is_there()).cloned().collect();
            cache::forget(&self.places.cache, &gone);
            if self.record(&undo.handler)?.is_none() {
                removal::forget_counters(&self.places, &undo.handler)?;
            }
            // From here on there is nothing to take back: see `undo`.
            durable::remove_if_there(&pending.join(UNDO)).map_err(failed)?;
        }
        durable::remove_tree(&pending).map_err(failed)?;
        self.tidy();
        Ok(())
    }

    /// How to take back the change that is under way; `None`: it did not begin, or is final.
    fn undo(&self) -> Result<Option<Undo>, String> {
        if !self.pending().join(RECORD).exists() {
            return Ok(None);
        }
        record::read(&self.pending().join(UNDO))
    }

    /// What is installed for a handler.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn record(&self, handler: &str) -> Result<Option<Record>, String> {
        record::read(&file_of(&self.folder.join("installed"), handler))
    }

    /// The handlers that are installed.
    pub fn installed(&self) -> Vec<String> {
        self.names("installed")
    }

    fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.folder.join(folder)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".json").map(str::to_owned))
            .collect();
        names.sort();
        names
    }

    fn removing(is_purge: bool) -> &'static str {
        if is_purge { "purging" } else { "removing" }
    }

    /// Notes that a handler is being removed. From here on, that is finished and not taken back.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn begin_removal(&self, handler: &str, is_purge: bool) -> Result<(), String> {
        let folder = self.folder.join(Self::removing(is_purge));
        let failed = |error| format!("{}: {error}", folder.display());
        durable::make_folder(&folder, 0o700).map_err(failed)?;
        let installed = file_of(&self.folder.join("installed"), handler);
        durable::rename(&installed, &file_of(&folder, handler)).map_err(failed)
    }

    /// The record of a handler that is being removed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn removed_record(&self, handler: &str, is_purge: bool) -> Result<Option<Record>, String> {
        record::read(&file_of(&self.folder.join(Self::removing(is_purge)), handler))
    }

    /// Forgets a handler that was removed.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn end_removal(&self, handler: &str, is_purge: bool) -> Result<(), String> {
        let file = file_of(&self.folder.join(Self::removing(is_purge)), handler);
        durable::remove_if_there(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        self.tidy();
        Ok(())
    }

    /// Removes folders that are empty.
    fn tidy(&self) {
        for folder in ["installed", "removing", "purging"] {
            // It fails when something is in it.
            let _ = fs::remove_dir(self.folder.join(folder));
        }
    }
}

/// The file for a handler's record. A handler's name has no `/`.
fn file_of(folder: &Path, handler: &str) -> PathBuf {
    folder.join(format!("{handler}.json"))
}

impl Undo {
    fn take_back(&self, manager: &dyn Manager) -> Result<(), String> {
        manager.stop(&self.started)?;
        manager.clean(&self.started);
        let sockets_changed = !self.started.is_empty() || !self.stopped.is_empty();
        // Patterns are services of one connection each: they have no such socket, and no settings but their own.
        let services = self.services.iter().filter(|service| !service.contains('*'));
        let services: Vec<String> = services.cloned().collect();
        if sockets_changed {
            // They have the sockets, too.
            manager.stop(&services)?;
        }
        for file in self.files.iter().rev() {
            file.restore()
                .map_err(|error| format!("{}: {error}", file.path.display()))?;
        }
        for folder in self.folders.iter().rev() {
            // It fails when something else is in it by now.
            let _ = fs::remove_dir(folder);
        }
        manager.daemon_reload()?;
        // A systemctl that outlived the command that was killed may have started one in the meantime. Now it cannot:
        // the unit is gone.
        let gone = self.started.iter().filter(|unit| !self.stopped.contains(unit));
        manager.stop(&gone.cloned().collect::<Vec<_>>())?;
        manager.start(&self.stopped)?;
        if !sockets_changed {
            for service in manager.active(&services)? {
                // If it cannot be reloaded, its sockets start it again, with the former settings.
                manager.reload(&service).or_else(|_| manager.stop(&[service]))?;
            }
        }
        manager.reset_failed(&self.started);
        Ok(())
    }
}

impl super::record::Replaced {
    /// Gives the former file its name again. May be repeated.
    fn restore(&self) -> io::Result<()> {
        durable::remove_if_there(&durable::beside(&self.path))?;
        match &self.former {
            Some(former) if former.exists() => durable::rename(former, &self.path),
            // It was restored already.
            Some(_) => Ok(()),
            None => durable::remove_if_there(&self.path).map(|_| ()),
        }
    }
}
