//! Loading a module: the artifact if it may be used, else the `.wasm`, compiled.

use super::artifact::{self as native, Distrust};
use super::cache::Cache;
use super::compiler;
use super::files::Files;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;
use wasmtime::component::Component;
use wasmtime::{Engine, Module};

/// What every WebAssembly binary begins with.
const WASM_MAGIC: &[u8] = b"\0asm";

/// Loaded code, not linked to anything yet.
#[derive(Clone)]
pub enum Code {
    Core(Module),
    Component(Component),
}

/// Why a module could not be loaded, and what to do.
#[derive(Debug, Error)]
pub enum LoadError {
    #[error(
        "the socket's name cannot be a handler's (set FileDescriptorName= in the .socket unit to letters, digits, `-`, `_` or `.`)"
    )]
    BadName,
    #[error("no module: neither {} nor {} is there (put one of them there, or name another with `module =` or --module)", .0.cwasm.display(), .0.wasm.display())]
    Missing(Files),
    #[error("cannot read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: io::Error },
    #[error("{} is not loaded: {reason}", path.display())]
    Distrusted { path: PathBuf, reason: Distrust },
    #[error("{} cannot be used: {reason} (make it anew with `wasm-sock compile {}`)", path.display(), path.with_extension("wasm").display())]
    Unusable { path: PathBuf, reason: String },
    #[error("{reason}")]
    NotCompiled { reason: String },
}

/// Loads an artifact, after asking who could have written it.
///
/// # Errors
/// See [`LoadError`].
pub fn artifact(engine: &Engine, path: &Path) -> Result<Code, LoadError> {
    let path_buf = || path.to_owned();
    let file = File::open(path).map_err(|error| LoadError::Unreadable {
        path: path_buf(),
        error,
    })?;
    native::check_trust(&file).map_err(|reason| LoadError::Distrusted {
        path: path_buf(),
        reason,
    })?;
    native::load(engine, &file).map_err(|e| LoadError::Unusable {
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
    engine: &Engine,
    path: &Path,
    cache: Option<&Cache>,
    warn: &dyn Fn(String),
) -> Result<Code, LoadError> {
    let wasm = fs::read(path).map_err(|error| LoadError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    if !wasm.starts_with(WASM_MAGIC) {
        let reason = format!(
            "{} is not a WebAssembly module: it does not begin with \"\\0asm\" (is the build finished?)",
            path.display()
        );
        return Err(LoadError::NotCompiled { reason });
    }
    let Some(cache) = cache else {
        return compile_in_memory(engine, path);
    };
    let entry = cache.entry(&wasm);
    if entry.exists() {
        match artifact(engine, &entry) {
            Ok(code) => return Ok(code),
            Err(error) => warn(format!("cached module passed over: {error}")),
        }
    }
    if let Err(error) = cache.create() {
        warn(format!(
            "cannot keep compiled modules in {}: {error}; every start compiles",
            cache.directory().display()
        ));
        return compile_in_memory(engine, path);
    }
    match compiler::compile_to(path, &entry) {
        Ok(()) => artifact(engine, &entry),
        Err(reason) => Err(LoadError::NotCompiled { reason }),
    }
}

fn compile_in_memory(engine: &Engine, path: &Path) -> Result<Code, LoadError> {
    let bytes =
        compiler::compile_to_memory(path).map_err(|reason| LoadError::NotCompiled { reason })?;
    // SAFETY: these are the very bytes our compiler just made.
    unsafe { native::load_bytes(engine, &bytes) }.map_err(|e| LoadError::Unusable {
        path: path.to_owned(),
        reason: format!("{e:#}"),
    })
}
