//! Loading a module: the artifact if it may be used, else the `.wasm`, compiled.

use super::artifact::{self as native, Distrust};
use super::cache::Cache;
use super::compiler;
use super::files::Files;
use crate::guest::{Code, Engines};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// What every WebAssembly binary begins with.
const WASM_MAGIC: &[u8] = b"\0asm";

/// Why a module could not be loaded, and what to do.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("no module: neither {} nor {} is there (put one of them there, or name another with `module =` or --module)", .0.cwasm.display(), .0.wasm.display())]
    Missing(Files),
    #[error("cannot read {}: {error} (the user of the service must be able to: `chmod a+r`, and `a+x` for the folders above it)", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{} is not loaded: {reason}", path.display())]
    Distrusted { path: PathBuf, reason: Distrust },
    #[error("{} cannot be used: {reason} (make it anew with `wasm-sock compile {}`)", path.display(), path.with_extension("wasm").display())]
    Unusable { path: PathBuf, reason: String },
    #[error("{} cannot be used: {reason}", path.display())]
    NotCompiled { path: PathBuf, reason: String },
    #[error("{} cannot be used: {reason}", path.display())]
    NotLinked { path: PathBuf, reason: String },
    #[error("{0}")]
    NoFile(String),
    #[error("no thread to load the module in: {0} (raise TasksMax= in the service)")]
    NoThread(io::Error),
    #[error("the thread that loaded the module is gone")]
    Lost,
}

impl LoadError {
    /// Is this what half a file looks like?
    pub fn is_about_content(&self) -> bool {
        matches!(self, Self::Unusable { .. } | Self::NotCompiled { .. })
    }
}

/// Loads an artifact, after asking who could have written it.
///
/// # Errors
/// See [`LoadError`].
pub fn artifact(engines: &Engines, path: &Path) -> Result<(Code, File), LoadError> {
    let path_buf = || path.to_owned();
    let file = File::open(path).map_err(|error| LoadError::Unreadable {
        path: path_buf(),
        error,
    })?;
    native::check_trust(&file).map_err(|reason| LoadError::Distrusted {
        path: path_buf(),
        reason,
    })?;
    native::load(engines, &file).map_err(|e| LoadError::Unusable {
        path: path_buf(),
        reason: format!("{e:#}"),
    })
}

/// Loads a `.wasm`: from the cache, or compiled into it. A problem that did not keep it from being
/// loaded goes to `warn`.
///
/// May run the compiler for seconds: not for a thread that serves.
///
/// # Errors
/// See [`LoadError`].
pub fn source(
    engines: &Engines,
    path: &Path,
    cache: Option<&Cache>,
    warn: &dyn Fn(String),
) -> Result<(Code, File), LoadError> {
    let wasm = fs::read(path).map_err(|error| LoadError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    if !wasm.starts_with(WASM_MAGIC) {
        let reason = "it is not a WebAssembly module: it does not begin with \"\\0asm\" (is the build finished?)";
        return Err(not_compiled(path, reason));
    }
    let entry = cache.map(|cache| cache.entry(&wasm));
    if let Some(entry) = entry.as_deref().filter(|entry| entry.exists()) {
        match artifact(engines, entry) {
            Ok(code) => return Ok(code),
            Err(error) => warn(format!("cached module passed over: {error}")),
        }
    }
    let bytes = compiler::compile(&wasm).map_err(|reason| not_compiled(path, &reason))?;
    if let (Some(cache), Some(entry)) = (cache, entry)
        && let Err(error) = cache.store(&entry, &bytes)
    {
        warn(format!(
            "cannot keep the compiled module as {}: {error}; every start compiles it",
            entry.display()
        ));
    }
    // SAFETY: these are the very bytes our compiler just made.
    unsafe { native::load_bytes(engines, &bytes) }
        .map_err(|e| not_compiled(path, &format!("{e:#}")))
}

fn not_compiled(path: &Path, reason: &str) -> LoadError {
    LoadError::NotCompiled {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
