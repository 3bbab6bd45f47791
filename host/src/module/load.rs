//! Loading a module: from an artifact if it may be used, otherwise by compiling the `.wasm`, with the cache.

use super::artifact::{self as native, open_trusted, unreadable};
use super::cache::Cache;
use super::compile_process::{CompileFailure, CompileProcess};
use super::compiler;
use super::error::{LoadError, NO_MODULE, WASM_MAGIC};
use super::files::FileStamp;

use crate::runtime::{Code, Engines};
use crate::sandbox::{self, OUTDATED_REASON};
use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

/// Where a sandboxed host gets compiled modules from.
#[derive(Clone)]
pub struct Compiled {
    pub cache: Option<Cache>,
    /// `None`: there was nothing to compile when the host entered its sandbox.
    pub compile_process: Option<Arc<CompileProcess>>,
}

/// Loads an artifact, after checking who can write it. A copy in a `cache` can be mapped directly, which takes a
/// fraction of the time.
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

/// Loads an entry of the cache.
fn entry(engines: &Engines, path: &Path) -> Result<(Code, File), LoadError> {
    mapped(engines, &open_trusted(path)?).map_err(|e| unusable(path, &e))
}

/// Maps an artifact, or a copy of it where the file system is mounted with `noexec` (`mount(8)`).
fn mapped(engines: &Engines, file: &File) -> wasmtime::Result<(Code, File)> {
    let mapped = native::map(engines, file.try_clone()?);
    mapped.or_else(|error| native::load(engines, file).map_err(|_| error))
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

/// Loads the compiled `.wasm` of a handler from the cache; the compile process compiles it first if necessary.
/// Problems that do not prevent loading are passed to `warn`.
///
/// May block for seconds, so it must not be called in a thread that serves.
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
    let ignored = |error| format!("cached module ignored: {error}");
    let named = cache.and_then(|cache| cache.compiled_from(path, stamp?));
    if let Some(kept) = &named {
        match entry(engines, kept) {
            Ok(loaded) => return Ok(loaded),
            Err(error @ LoadError::Distrusted { .. }) => warn(ignored(error)),
            Err(_) => {}
        }
    }
    let wasm = read_module(path)?;
    let kept = cache.map(|cache| cache.entry(&wasm));
    let mut is_bad = false;
    if let Some(kept) = kept.filter(|kept| kept.exists()) {
        match entry(engines, &kept) {
            Ok(code) => {
                if let (Some(_), Some(compile_process)) = (&named, &compiled.compile_process) {
                    compile_process.name(handler);
                }
                return Ok(code);
            }
            Err(error) => {
                is_bad = true;
                warn(ignored(error));
            }
        }
    }
    let Some(compile_process) = &compiled.compile_process else {
        sandbox::leave_soon();
        let reason = format!("it has to be compiled: {OUTDATED_REASON}");
        return Err(not_compiled(path, &reason));
    };
    let artifact = compile_process.artifact(handler, is_bad, warn);
    let artifact = artifact.map_err(|failure| match failure {
        CompileFailure::Unreadable(error) => unreadable(path, error),
        CompileFailure::Refused(reason) => not_compiled(path, &reason),
        CompileFailure::Lost(reason) => {
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
