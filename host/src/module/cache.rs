//! Modules that were compiled because only a `.wasm` was there, kept for the next start.

use sha2::{Digest, Sha256};
use std::env;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::SystemTime;

/// Tells apart what this process stores at the same time.
static STORED: AtomicU32 = AtomicU32::new(0);

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
        let variable = |name| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let directory = variable("CACHE_DIRECTORY")
            .or_else(|| variable("XDG_CACHE_HOME").map(|home| home.join("wasm-sock")))
            .or_else(|| variable("HOME").map(|home| home.join(".cache/wasm-sock")))?;
        directory.is_absolute().then_some(Self { directory })
    }

    /// Where the artifact for this module's content lies, or would.
    pub fn entry(&self, wasm: &[u8]) -> PathBuf {
        let mut name = String::with_capacity(128);
        for byte in Sha256::digest(wasm) {
            let _ = write!(name, "{byte:02x}");
        }
        let _ = write!(name, "-{}.cwasm", wasm_sock_engine::fingerprint());
        self.directory.join(name)
    }

    /// Keeps an artifact under the name that [`Self::entry`] gave. Nobody ever sees half of it, and
    /// who stores the same at the same time stores the same.
    ///
    /// # Errors
    /// Those of the file system. Nothing is lost but time.
    pub fn store(&self, entry: &Path, artifact: &[u8]) -> io::Result<()> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)?;
        let number = STORED.fetch_add(1, Relaxed);
        let moment = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let name = format!(
            ".unfinished-{}-{number}-{}",
            std::process::id(),
            moment.as_nanos()
        );
        let unfinished = self.directory.join(name);
        let written = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)
            .and_then(|mut file| file.write_all(artifact))
            .and_then(|()| fs::rename(&unfinished, entry));
        if written.is_err() {
            // It may not be there at all.
            let _ = fs::remove_file(&unfinished);
        }
        written
    }
}
