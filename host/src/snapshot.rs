//! What a start found out from a large configuration, for the next one: the checked configuration itself,
//! and what the process needs for its sockets. Reading a thousand handlers takes longer than answering.
//!
//! A snapshot says all that it depends on, down to the program that wrote it. One that does not fit, or is
//! damaged, is as good as none. It decides what the host may touch, so it lies where no host can write that
//! has confined itself, and is trusted as native code is; and it is never made of files that may still have
//! changed while they were read.

use crate::activation::{Socket, handler_name};
use crate::config::{Config, Environment, drop_in_folder};
use crate::module::{Cache, FRESH, FileStamp, hash_of, open_trusted};
use crate::sandbox::Needs;
use rustix::fs::{Access, access};
use serde::{Deserialize, Serialize};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

#[cfg(test)]
mod tests;

/// So many handlers are worth a snapshot: fewer are read as quickly as the snapshot would be.
const MANY: usize = 16;

/// The program that runs.
const PROGRAM: &str = "/proc/self/exe";

/// Where the snapshots of a configuration lie, and what they depend on beside files.
pub struct Snapshots<'a> {
    cache: &'a Cache,
    main_file: PathBuf,
    /// The folder of modules unless the configuration names one.
    modules: PathBuf,
    /// When reading began.
    started: SystemTime,
}

#[derive(Serialize, Deserialize)]
pub struct Snapshot {
    /// Who wrote it: another version would read something else in it.
    program: FileStamp,
    main_file: PathBuf,
    modules: PathBuf,
    /// What the configuration was read from, and where more of it would be.
    files: Vec<File>,
    pub config: Config,
    needs: Option<Kept>,
}

/// A file or a folder, and what it was; `None`: it was not there.
type File = (PathBuf, Option<FileStamp>);

/// What the sockets of these names need.
#[derive(Serialize, Deserialize)]
struct Kept {
    names: u64,
    /// Where modules were looked for.
    folders: Vec<File>,
    needs: Needs,
}

impl<'a> Snapshots<'a> {
    /// `None`: there is no place for them, or nothing to be read.
    pub fn new(cache: Option<&'a Cache>, explicit: Option<&Path>, environment: &Environment<'_>) -> Option<Self> {
        Some(Self {
            cache: cache?,
            main_file: explicit.map(Path::to_owned).or_else(|| environment.main_file())?,
            modules: environment.modules_directory(),
            started: SystemTime::now(),
        })
    }

    /// The last snapshot, if all is as it was then. Another one is deleted: it may hold secrets that were
    /// taken out of the configuration.
    pub fn open(&self) -> Option<Snapshot> {
        let path = self.path();
        // Most configurations have none: this is the quickest way to see that.
        access(&path, Access::EXISTS).ok()?;
        let file = open_trusted(&path).ok()?;
        let snapshot = self.read(file);
        if snapshot.is_none() {
            // What cannot be deleted is passed over the next time, too.
            let _ = fs::remove_file(path);
        }
        snapshot
    }

    fn read(&self, mut file: fs::File) -> Option<Snapshot> {
        let mut content = Vec::new();
        file.read_to_end(&mut content).ok()?;
        let (content, checksum) = content.split_last_chunk()?;
        if *checksum != checksum_of(content) {
            return None;
        }
        let snapshot: Snapshot = postcard::from_bytes(content).ok()?;
        let fits = snapshot.program == FileStamp::at(PROGRAM.as_ref()).ok()??
            && snapshot.main_file == self.main_file
            && snapshot.modules == self.modules
            && snapshot.files.iter().all(is_unchanged);
        fits.then_some(snapshot)
    }

    /// Keeps what was read, if it is worth it and will hold. When it fails, the next start tries again.
    pub fn keep(&self, config: &Config, needs: &Needs, sockets: &[Socket]) {
        let needs = self.lasting(needs, sockets);
        // A packed configuration was kept already.
        let has_news = needs.is_some() || !config.is_packed();
        if !has_news || config.handlers.len().max(sockets.len()) < MANY {
            return;
        }
        let folder = drop_in_folder(&self.main_file);
        let looked_for = [self.main_file.as_path(), &folder];
        let read = config.files.iter().map(PathBuf::as_path);
        if let Ok(Some(program)) = FileStamp::at(PROGRAM.as_ref())
            && let Some(files) = self.settled(looked_for.into_iter().chain(read))
            && let Some(config) = config.packed()
        {
            self.store(&Snapshot {
                program,
                main_file: self.main_file.clone(),
                modules: self.modules.clone(),
                files,
                config,
                needs,
            });
        }
    }

    fn store(&self, snapshot: &Snapshot) {
        let Ok(mut content) = postcard::to_extend(snapshot, Vec::new()) else {
            return;
        };
        content.extend(checksum_of(&content));
        // Without it, a start takes longer.
        let _ = self.cache.store_hastily(&self.path(), &content);
    }

    fn lasting(&self, needs: &Needs, sockets: &[Socket]) -> Option<Kept> {
        if needs.linked {
            return None;
        }
        Some(Kept {
            names: hash_of_names(sockets),
            folders: self.settled(needs.looked_in.iter().map(PathBuf::as_path))?,
            needs: needs.clone(),
        })
    }

    /// What these are, unless one of them may have changed since reading began without showing it.
    fn settled<'b>(&self, paths: impl Iterator<Item = &'b Path>) -> Option<Vec<File>> {
        let long_ago = self.started.checked_sub(FRESH)?;
        let settled = |path: &'b Path| {
            let stamp = FileStamp::at(path).ok()?;
            let holds = stamp.is_none_or(|stamp| stamp.is_older_than(long_ago));
            holds.then(|| (path.to_owned(), stamp))
        };
        paths.map(settled).collect()
    }

    /// One for each configuration. Services that share one with different sockets take turns.
    fn path(&self) -> PathBuf {
        let hash = hash_of((&self.main_file, &self.modules));
        self.cache.beside(&format!("configuration-{hash:016x}"))
    }
}

impl Snapshot {
    /// What was needed for these sockets, if all is as it was then.
    pub fn needs(&self, sockets: &[Socket]) -> Option<Needs> {
        let kept = self.needs.as_ref()?;
        let fits = kept.names == hash_of_names(sockets) && kept.folders.iter().all(is_unchanged);
        fits.then(|| kept.needs.clone())
    }
}

fn is_unchanged((path, before): &File) -> bool {
    FileStamp::at(path).is_ok_and(|now| now == *before)
}

/// Tells what a machine that lost power left from what was written. Who could write something else with
/// the right one is trusted.
fn checksum_of(content: &[u8]) -> [u8; 8] {
    let mut hasher = DefaultHasher::new();
    hasher.write(content);
    hasher.finish().to_le_bytes()
}

fn hash_of_names(sockets: &[Socket]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for socket in sockets {
        handler_name(&socket.name).hash(&mut hasher);
    }
    hasher.finish()
}
