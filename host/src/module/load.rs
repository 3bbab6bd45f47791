//! Loading a module: the artifact if it may be used, else the `.wasm`, compiled.

use super::artifact::{self as native, Distrust};
use super::cache::Cache;
use super::compiler;
use super::files::{FileStamp, Files};
use super::keeper::{Failure, Keeper};
use crate::runtime::{Code, Engines};
use crate::sandbox::{self, OUTDATED_REASON};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// What every WebAssembly binary begins with.
pub const WASM_MAGIC: &[u8] = b"\0asm";

/// What is said of a file that does not begin so.
pub const NO_MODULE: &str =
    "it is not a WebAssembly module: it does not begin with \"\\0asm\" (is the build finished?)";

/// Where a host that has confined itself gets compiled modules from.
#[derive(Clone)]
pub struct Compiled {
    pub cache: Option<Cache>,
    /// `None`: nothing was to be compiled when it confined itself.
    pub keeper: Option<Arc<Keeper>>,
}

/// Why a module could not be loaded, and what to do.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error("no module: neither {} nor {} is there (put one of them there, or name another with `module =` or --module)", .0.cwasm.display(), .0.wasm.display())]
    Missing(Files),
    #[error("cannot read {}: {error} (the user of the service must be able to: `chmod a+r`, and `a+x` for the folders above it)", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("cannot read {}: {OUTDATED_REASON}", path.display())]
    Outdated { path: PathBuf },
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

/// Loads an artifact, after asking who could have written it. Its copy in a `cache` can be mapped as it is, which
/// takes a fraction of the time.
///
/// # Errors
/// See [`LoadError`].
pub fn artifact(engines: &Engines, path: &Path, cache: Option<&Cache>) -> Result<(Code, File), LoadError> {
    let file = open_trusted(path)?;
    let stamp = || Some(FileStamp::of(&file.metadata().ok()?));
    if let Some(copy) = cache.and_then(|cache| cache.copy_of(path, stamp()?))
        && let Ok(loaded) = entry(engines, &copy)
    {
        return Ok(loaded);
    }
    native::load(engines, &file).map_err(|e| unusable(path, &e))
}

/// Loads a module of either form.
///
/// # Errors
/// See [`LoadError`].
pub fn load_file(engines: &Engines, path: &Path) -> Result<(Code, File), LoadError> {
    match path.extension() {
        Some(extension) if extension == "cwasm" => artifact(engines, path, None),
        _ => source(engines, path),
    }
}

/// Loads what the cache keeps under a name.
fn entry(engines: &Engines, path: &Path) -> Result<(Code, File), LoadError> {
    mapped(engines, &open_trusted(path)?).map_err(|e| unusable(path, &e))
}

/// Maps an artifact, or a copy of it where the file system runs no code (`noexec`, `mount(8)`).
fn mapped(engines: &Engines, file: &File) -> wasmtime::Result<(Code, File)> {
    let mapped = native::map(engines, file.try_clone()?);
    mapped.or_else(|error| native::load(engines, file).map_err(|_| error))
}

/// Opens a file that only root or we can have written.
///
/// # Errors
/// See [`LoadError`].
pub fn open_trusted(path: &Path) -> Result<File, LoadError> {
    let path_buf = || path.to_owned();
    let (file, is_straight) = native::open(path).map_err(|error| unreadable(path, error))?;
    native::check_trust(&file, path, is_straight).map_err(|reason| LoadError::Distrusted {
        path: path_buf(),
        reason,
    })?;
    Ok(file)
}

fn unreadable(path: &Path, error: io::Error) -> LoadError {
    let path = path.to_owned();
    if sandbox::refuses(&path, &error) {
        return LoadError::Outdated { path };
    }
    LoadError::Unreadable { path, error }
}

fn unusable(path: &Path, error: &wasmtime::Error) -> LoadError {
    LoadError::Unusable {
        path: path.to_owned(),
        reason: format!("{error:#}"),
    }
}

/// Compiles a `.wasm` and loads it. May take seconds.
///
/// # Errors
/// See [`LoadError`].
pub fn source(engines: &Engines, path: &Path) -> Result<(Code, File), LoadError> {
    let wasm = read_module(path)?;
    let bytes = compiler::compile(&wasm, &|| ()).map_err(|reason| not_compiled(path, &reason))?;
    // SAFETY: these are the very bytes our compiler just made.
    unsafe { native::load_bytes(engines, &bytes) }.map_err(|e| not_compiled(path, &format!("{e:#}")))
}

/// Loads the `.wasm` of a handler from the cache, or lets it be compiled into it. A problem that did not keep it
/// from being loaded goes to `warn`.
///
/// May take seconds: not for a thread that serves.
///
/// # Errors
/// See [`LoadError`].
pub fn compiled(
    engines: &Engines,
    path: &Path,
    handler: &str,
    compiled: &Compiled,
    warn: &dyn Fn(String),
) -> Result<(Code, File), LoadError> {
    let stamp = FileStamp::at(path).ok().flatten();
    let cache = compiled.cache.as_ref();
    let passed_over = |error| format!("cached module passed over: {error}");
    let named = cache.and_then(|cache| cache.compiled_from(path, stamp?));
    if let Some(kept) = &named {
        match entry(engines, kept) {
            Ok(loaded) => return Ok(loaded),
            Err(error @ LoadError::Distrusted { .. }) => warn(passed_over(error)),
            Err(_) => {}
        }
    }
    let wasm = read_module(path)?;
    let kept = cache.map(|cache| cache.entry(&wasm));
    let mut is_bad = false;
    if let Some(kept) = kept.filter(|kept| kept.exists()) {
        match entry(engines, &kept) {
            Ok(code) => {
                if let (Some(_), Some(keeper)) = (&named, &compiled.keeper) {
                    keeper.name(handler);
                }
                return Ok(code);
            }
            Err(error) => {
                is_bad = true;
                warn(passed_over(error));
            }
        }
    }
    let Some(keeper) = &compiled.keeper else {
        sandbox::leave_soon();
        let reason = format!("it has to be compiled: {OUTDATED_REASON}");
        return Err(not_compiled(path, &reason));
    };
    let artifact = keeper.artifact(handler, is_bad, warn);
    let artifact = artifact.map_err(|failure| match failure {
        Failure::Unreadable(error) => unreadable(path, error),
        Failure::Refused(reason) => not_compiled(path, &reason),
        Failure::Lost(reason) => {
            sandbox::leave_soon();
            let reason = format!(
                "the process that compiles is lost ({reason}): this host leaves, and the next one may compile it"
            );
            not_compiled(path, &reason)
        }
    })?;
    mapped(engines, &artifact).map_err(|e| not_compiled(path, &format!("{e:#}")))
}

fn read_module(path: &Path) -> Result<Vec<u8>, LoadError> {
    let wasm = fs::read(path).map_err(|error| unreadable(path, error))?;
    match wasm.starts_with(WASM_MAGIC) {
        true => Ok(wasm),
        false => Err(not_compiled(path, NO_MODULE)),
    }
}

fn not_compiled(path: &Path, reason: &str) -> LoadError {
    LoadError::NotCompiled {
        path: path.to_owned(),
        reason: reason.to_owned(),
    }
}
