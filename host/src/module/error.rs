//! Why a module is not loaded, and what to do about it.

use super::files::Files;
use crate::sandbox::OUTDATED_REASON;
use std::io;
use std::path::PathBuf;
use thiserror::Error;

/// The magic number of WebAssembly binaries.
pub const WASM_MAGIC: &[u8] = b"\0asm";

/// The message about a file without it.
pub const NO_MODULE: &str =
    "it is not a WebAssembly module: it does not begin with \"\\0asm\" (is the build finished?)";

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
    #[error("{} cannot be used: {reason} (compile it again with `wasm-sock compile {}`)", path.display(), path.with_extension("wasm").display())]
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
    /// May the cause be a half-written file?
    pub fn is_about_content(&self) -> bool {
        matches!(self, Self::Unusable { .. } | Self::NotCompiled { .. })
    }
}

/// Why native code is not trusted: another user could have written it.
#[derive(Debug, Error)]
pub enum Distrust {
    #[error(
        "{path} belongs to user {owner}, who is neither root nor user {us} that the host runs as (`chown root {path}`)"
    )]
    Owner { path: PathBuf, owner: u32, us: u32 },
    #[error(
        "{path} is a symbolic link of user {owner}, who is neither root nor user {us} that the host runs as (`chown -h root {path}`)"
    )]
    Link { path: PathBuf, owner: u32, us: u32 },
    #[error("{path} can be written by others than its owner (`chmod go-w {path}`)")]
    Writable { path: PathBuf },
    #[error("cannot tell who may write {path}: {error}")]
    Unknown { path: PathBuf, error: io::Error },
}
