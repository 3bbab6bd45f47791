//! What is kept for the next start: modules that were compiled because only a `.wasm` was there, and
//! copies of artifacts that lie elsewhere, where they may be changed in place.

use super::artifact::open_trusted;
use super::files::{FRESH, FileStamp};
use rustix::fs::{Access, access};
use sha2::{Digest, Sha256};
use std::env;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::SystemTime;

/// Tells apart what this process stores at the same time.
static STORED: AtomicU32 = AtomicU32::new(0);

/// The folder of compiled modules in the directory, which a host that has confined itself reads.
const MODULES: &str = "modules";

/// The directory of compiled modules. An entry's name says all that the entry depends on, so
/// entries never change and are never wrong; they are replaced by nothing and deleted by anybody.
#[derive(Debug, Clone)]
pub struct Cache {
    directory: PathBuf,
}

impl Cache {
    /// `$CACHE_DIRECTORY` (`CacheDirectory=` of the service, `systemd.exec(5)`), or a user's own:
    /// `$XDG_CACHE_HOME/wasm-sock`, `~/.cache/wasm-sock`. `None` when there is neither: then every
    /// start compiles.
    pub fn from_environment() -> Option<Self> {
        let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let directory = variable("CACHE_DIRECTORY")
            .or_else(|| variable("XDG_CACHE_HOME").map(|home| home.join("wasm-sock")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/wasm-sock")))?;
        directory.is_absolute().then(|| Self::at(&directory))
    }

    /// The cache in this directory.
    pub fn at(directory: &Path) -> Self {
        Self {
            directory: directory.join(MODULES),
        }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Makes the directory if it is not there: a process that has confined itself cannot.
    ///
    /// # Errors
    /// Those of the file system. Whoever stores something meets them, too.
    pub fn make(&self) -> io::Result<()> {
        if access(&self.directory, Access::EXISTS).is_ok() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)
    }

    /// Where the artifact for this module's content lies, or would.
    pub fn entry(&self, wasm: &[u8]) -> PathBuf {
        let engine = wasm_sock_engine::fingerprint();
        self.directory.join(format!("{}-{engine}.cwasm", hexadecimal(wasm)))
    }

    /// Where the copy of an artifact lies, or would; `None` while it may still be written to.
    pub fn copy_of(&self, path: &Path, stamp: FileStamp) -> Option<PathBuf> {
        self.named_after(hash_of(path), stamp)
    }

    /// Where the artifact of a `.wasm` lies by the name of the file as it is now, or would; `None` as above.
    pub fn compiled_from(&self, path: &Path, stamp: FileStamp) -> Option<PathBuf> {
        self.named_after(hash_of((path, wasm_sock_engine::fingerprint())), stamp)
    }

    fn named_after(&self, path: u64, stamp: FileStamp) -> Option<PathBuf> {
        let name = || format!("{path:0PATH$x}-{stamp:x}.cwasm");
        (!stamp.is_younger_than(FRESH)).then(|| self.directory.join(name()))
    }

    /// Is there no copy of an artifact yet, though there may be one?
    pub fn lacks_copy_of(&self, path: &Path) -> bool {
        let stamp = FileStamp::at(path).ok().flatten();
        let copy = stamp.and_then(|stamp| self.copy_of(path, stamp));
        copy.is_some_and(|copy| access(&copy, Access::EXISTS).is_err())
    }

    /// Keeps a copy of an artifact where [`Self::copy_of`] says, and deletes those of what was at the same path
    /// before.
    ///
    /// # Errors
    /// Those of the file system, and when it is not to be trusted.
    pub fn keep_copy(&self, path: &Path) -> io::Result<()> {
        let mut artifact = open_trusted(path).map_err(io::Error::other)?;
        let stamp = FileStamp::of(&artifact.metadata()?);
        let copy = self.copy_of(path, stamp).ok_or(ErrorKind::ResourceBusy)?;
        let mut bytes = Vec::new();
        artifact.read_to_end(&mut bytes)?;
        self.store(&copy, &bytes)?;
        self.delete_others(&copy)
    }

    /// Gives an entry the name that [`Self::compiled_from`] said, and deletes those of what was at the same path
    /// before.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn link(&self, entry: &Path, name: &Path) -> io::Result<()> {
        let unfinished = unfinished(name);
        fs::hard_link(entry, &unfinished)?;
        let renamed = fs::rename(&unfinished, name);
        // A name for what has it already is left over (rename(2)).
        let _ = fs::remove_file(&unfinished);
        renamed?;
        self.delete_others(name)
    }

    fn delete_others(&self, named: &Path) -> io::Result<()> {
        for entry in fs::read_dir(&self.directory)? {
            let other = entry?.path();
            if other != named && path_of(&other) == path_of(named) {
                fs::remove_file(other)?;
            }
        }
        Ok(())
    }

    /// Keeps an artifact under the name that [`Self::entry`] gave. Nobody ever sees half of it, and
    /// who stores the same at the same time stores the same.
    ///
    /// # Errors
    /// Those of the file system. Nothing is lost but time.
    pub fn store(&self, entry: &Path, artifact: &[u8]) -> io::Result<()> {
        self.make()?;
        let unfinished = unfinished(entry);
        let written = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)
            .and_then(|mut file| {
                file.write_all(artifact)?;
                // Or a machine that loses power may come back with the name and without the content.
                file.sync_data()
            })
            .and_then(|()| fs::rename(&unfinished, entry));
        if written.is_err() {
            // It may not be there at all.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }
}

/// A name of its own, for what is to become an entry.
fn unfinished(entry: &Path) -> PathBuf {
    let number = STORED.fetch_add(1, Relaxed);
    let moment = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let name = format!(".unfinished-{}-{number}-{}", std::process::id(), moment.as_nanos());
    entry.with_file_name(name)
}

/// Digits that a copy's name tells the path of its original with ([`hash_of`]). Two originals that share
/// them take turns.
const PATH: usize = 16;

/// Those digits; `None`: it is named after its content.
fn path_of(copy: &Path) -> Option<&str> {
    let (path, _) = copy.file_name()?.to_str()?.split_once('-')?;
    (path.len() == PATH).then_some(path)
}

/// A hash for names, which takes less than asking the processor whether it knows SHA-256 does.
fn hash_of(value: impl Hash) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}

fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
