//! What is written down of a change: what it installs, and how it is taken back.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What `install` wrote for a handler.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub handler: String,
    /// The module, its artifact, the handler's settings.
    pub files: Vec<Installed>,
    /// The handler's settings, one of `files`.
    pub settings: PathBuf,
    /// Did people write the settings' file, and `install` change it (`--yes`)?
    pub is_adopted: bool,
    /// Folders that `install` made.
    pub folders: Vec<PathBuf>,
    /// The units that systemd's generator makes of the settings.
    pub units: Vec<String>,
    /// The services that the units start; of those with `@*.service` every instance.
    pub services: Vec<String>,
}

/// A file that was installed, as it was then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Installed {
    pub path: PathBuf,
    /// In hexadecimal digits.
    pub sha256: String,
    /// In bytes.
    pub size: u64,
}

/// How a change is taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undo {
    pub handler: String,
    /// In the order in which they are replaced.
    pub files: Vec<Replaced>,
    /// Folders that are made, each after those above it.
    pub folders: Vec<PathBuf>,
    /// Units that are started, and were not active before.
    pub started: Vec<String>,
    /// Units that are stopped, and were active before.
    pub stopped: Vec<String>,
    /// Services that have to know of it: stopped when sockets have changed, else reloaded.
    pub services: Vec<String>,
}

/// A file that a change replaces, makes or removes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    pub path: PathBuf,
    /// What was there: where it is kept. `None`: nothing.
    pub former: Option<PathBuf>,
}

impl Installed {
    /// A file that will be installed at `path`, and is at `now` yet.
    ///
    /// # Errors
    /// Those of reading it.
    pub fn from(now: &Path, path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            sha256: digest(now)?,
            size: fs::metadata(now)?.len(),
        })
    }

    /// Is the file there, as it was installed?
    pub fn is_there(&self) -> bool {
        digest(&self.path).is_ok_and(|digest| digest == self.sha256)
    }
}

/// The SHA-256 of a file's content in hexadecimal digits.
///
/// # Errors
/// Those of reading it.
pub fn digest(path: &Path) -> io::Result<String> {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(fs::read(path)?) {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    Ok(text)
}

/// Reads one of these; `None`: there is no such file.
///
/// # Errors
/// When it cannot be read or understood.
pub fn read<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let content = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        content => content.map_err(|error| format!("{}: {error}", path.display()))?,
    };
    let parsed = serde_json::from_slice(&content);
    parsed.map(Some).map_err(|error| {
        let path = path.display();
        format!("{path}: {error} (was it changed by hand? remove it, and what it names)")
    })
}
