//! A `.cwasm` is native code: whether it may be loaded, and loading it.

use super::load::Code;
use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use thiserror::Error;
use wasmtime::component::Component;
use wasmtime::{Engine, Module, Precompiled};

/// The sticky bit: in such a directory nobody replaces files of others (`inode(7)`).
const STICKY: u32 = 0o1000;

/// Write permission for the group or for others.
const OTHERS_WRITE: u32 = 0o022;

/// Why native code is not trusted: somebody else could have written it.
#[derive(Debug, Error)]
pub enum Distrust {
    #[error(
        "{path} belongs to user {owner}, who is neither root nor user {us} that the host runs as (`chown root {path}`)"
    )]
    Owner { path: PathBuf, owner: u32, us: u32 },
    #[error("{path} can be written by others than its owner (`chmod go-w {path}`)")]
    Writable { path: PathBuf },
    #[error("cannot tell who may write {path}: {error}")]
    Unknown { path: PathBuf, error: io::Error },
}

/// Is `file`, opened by whatever name, owned by root or us and writable by nobody else, and so are
/// the folders above it?
///
/// The folders are those the kernel says the open file lies in, not those of the name it was
/// opened by: a symbolic link changes nothing.
///
/// # Errors
/// The first reason not to.
pub fn check_trust(file: &File) -> Result<(), Distrust> {
    let link = format!("/proc/self/fd/{}", file.as_raw_fd());
    let unknown = |path: &Path, error| Distrust::Unknown {
        path: path.to_owned(),
        error,
    };
    let path = fs::read_link(&link).map_err(|error| unknown(Path::new(&link), error))?;
    check(
        &path,
        &file.metadata().map_err(|error| unknown(&path, error))?,
    )?;
    for folder in path.ancestors().skip(1) {
        check(
            folder,
            &fs::metadata(folder).map_err(|error| unknown(folder, error))?,
        )?;
    }
    Ok(())
}

fn check(path: &Path, metadata: &Metadata) -> Result<(), Distrust> {
    let us = rustix::process::geteuid().as_raw();
    let owner = metadata.uid();
    if owner != 0 && owner != us {
        return Err(Distrust::Owner {
            path: path.to_owned(),
            owner,
            us,
        });
    }
    let shared_folder = metadata.is_dir() && metadata.mode() & STICKY != 0;
    if metadata.mode() & OTHERS_WRITE != 0 && !shared_folder {
        return Err(Distrust::Writable {
            path: path.to_owned(),
        });
    }
    Ok(())
}

/// Loads native code from a trusted file.
///
/// The file is read, not mapped: an administrator who copies a new artifact over the old one
/// (`cp`, `scp`) changes the file in place, and under a mapping that changes the running code.
///
/// # Errors
/// When the artifact was made by another engine, with other settings, or is damaged.
pub fn load(engine: &Engine, file: &mut File) -> wasmtime::Result<Code> {
    let mut bytes = Vec::with_capacity(file.metadata().map_or(0, |m| m.len() as usize + 1));
    file.read_to_end(&mut bytes)?;
    // SAFETY: the bytes are what our compiler made (`check_trust`: nobody but root and us can have
    // written them), and they are ours alone now.
    unsafe { deserialize(engine, &bytes) }
}

/// # Safety
/// The bytes must come from the compiler, unchanged: see [`Module::deserialize`].
pub unsafe fn deserialize(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Code> {
    match Engine::detect_precompiled(bytes) {
        // SAFETY: the caller upholds it.
        Some(Precompiled::Module) => unsafe { Module::deserialize(engine, bytes) }.map(Code::Core),
        // SAFETY: the caller upholds it.
        Some(Precompiled::Component) => {
            unsafe { Component::deserialize(engine, bytes) }.map(Code::Component)
        }
        None => wasmtime::bail!("not a compiled WebAssembly module, or only the beginning of one"),
    }
}
