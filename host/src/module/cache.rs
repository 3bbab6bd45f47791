//! The cache of native code on disk, for the next start: compiled `.wasm` modules, and copies of artifacts whose
//! originals may be changed in place.

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

/// Makes the names of temporary files unique within this process.
static STORED: AtomicU32 = AtomicU32::new(0);

/// The folder of compiled modules in the cache directory, which a sandboxed host may read.
const MODULES: &str = "modules";

/// The cache directory. An entry's name is derived from everything that the entry depends on, so an entry never
/// changes and never becomes stale. Entries may be deleted at any time.
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

    /// The cache in `directory`.
    pub fn at(directory: &Path) -> Self {
        Self {
            directory: directory.join(MODULES),
        }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Creates the directory if it does not exist. Called before the sandbox, which would refuse it.
    ///
    /// # Errors
    /// Those of the file system. Storing an entry fails with them, too.
    pub fn make(&self) -> io::Result<()> {
        if access(&self.directory, Access::EXISTS).is_ok() {
            return Ok(());
        }
        DirBuilder::new().recursive(true).mode(0o700).create(&self.directory)
    }

    /// The path of the artifact for a module with this content.
    pub fn entry(&self, wasm: &[u8]) -> PathBuf {
        let engine = wasm_sock_engine::fingerprint();
        self.directory.join(format!("{}-{engine}.cwasm", hexadecimal(wasm)))
    }

    /// The path of the copy of an artifact; `None` while the original may still be being written.
    pub fn copy_of(&self, path: &Path, stamp: FileStamp) -> Option<PathBuf> {
        self.named_after(hash_of(path), stamp)
    }

    /// The path of the artifact of a `.wasm`, by path and stamp of the file instead of its content; `None` as for
    /// [`Self::copy_of`].
    pub fn compiled_from(&self, path: &Path, stamp: FileStamp) -> Option<PathBuf> {
        self.named_after(hash_of((path, wasm_sock_engine::fingerprint())), stamp)
    }

    fn named_after(&self, path: u64, stamp: FileStamp) -> Option<PathBuf> {
        let name = || format!("{path:0PATH$x}-{stamp:x}.cwasm");
        (!stamp.is_younger_than(FRESH)).then(|| self.directory.join(name()))
    }

    /// Is the copy of an artifact missing?
    pub fn lacks_copy_of(&self, path: &Path) -> bool {
        let stamp = FileStamp::at(path).ok().flatten();
        let copy = stamp.and_then(|stamp| self.copy_of(path, stamp));
        copy.is_some_and(|copy| access(&copy, Access::EXISTS).is_err())
    }

    /// Stores a copy of an artifact at [`Self::copy_of`], and deletes the copies of former artifacts at the same
    /// path.
    ///
    /// # Errors
    /// Those of the file system, and when the artifact is not trusted.
    pub fn keep_copy(&self, path: &Path) -> io::Result<()> {
        let mut artifact = open_trusted(path).map_err(io::Error::other)?;
        let stamp = FileStamp::of(&artifact.metadata()?);
        let copy = self.copy_of(path, stamp).ok_or(ErrorKind::ResourceBusy)?;
        let mut bytes = Vec::new();
        artifact.read_to_end(&mut bytes)?;
        self.store(&copy, &bytes)?;
        self.delete_others(&copy)
    }

    /// Links an entry to the name from [`Self::compiled_from`], and deletes the links of former files at the same
    /// path.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn link(&self, entry: &Path, name: &Path) -> io::Result<()> {
        let unfinished = unfinished(name);
        fs::hard_link(entry, &unfinished)?;
        let renamed = fs::rename(&unfinished, name);
        // rename(2) leaves the old name if both are links to the same file.
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

    /// Stores an artifact under the name from [`Self::entry`], atomically (write and rename). Two processes that
    /// store an entry at the same time store the same content.
    ///
    /// # Errors
    /// Those of the file system. Then the next start compiles again.
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
                // Otherwise the name may exist without the content after a power failure.
                file.sync_data()
            })
            .and_then(|()| fs::rename(&unfinished, entry));
        if written.is_err() {
            // It may not exist.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }
}

/// A unique temporary name for a file that becomes an entry.
fn unfinished(entry: &Path) -> PathBuf {
    let number = STORED.fetch_add(1, Relaxed);
    let moment = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    let name = format!(".unfinished-{}-{number}-{}", std::process::id(), moment.as_nanos());
    entry.with_file_name(name)
}

/// Hexadecimal digits in a copy's name that identify the path of its original ([`hash_of`]). Two originals with the
/// same digits replace each other's copies.
const PATH: usize = 16;

/// Those digits of a file name; `None`: the file is named after its content.
fn path_of(copy: &Path) -> Option<&str> {
    let (path, _) = copy.file_name()?.to_str()?.split_once('-')?;
    (path.len() == PATH).then_some(path)
}

/// A hash for names. It takes less time than detecting the SHA-256 instructions of the processor.
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
