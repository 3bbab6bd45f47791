//! Modules that were compiled because only a `.wasm` was there, kept for the next start.

use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

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

    /// Makes the directory, for us alone.
    ///
    /// # Errors
    /// Those of `mkdir(2)`.
    pub fn create(&self) -> io::Result<()> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.directory)
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }
}
