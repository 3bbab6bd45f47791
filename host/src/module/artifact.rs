//! Artifacts (`.cwasm`, native code): checks of owner and permissions, and loading.

use super::error::{Distrust, LoadError};
use crate::runtime::{Code, Engines};
use crate::sandbox;
use rustix::fs::{CWD, MemfdFlags, Mode, OFlags, ResolveFlags, memfd_create, openat2, sendfile};
use std::fs::{self, File, Metadata};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::LazyLock;

/// The sticky bit: in such a directory, a user cannot replace files of other users (`inode(7)`).
const STICKY: u32 = 0o1000;

/// Write permission for the group or for others.
const OTHERS_WRITE: u32 = 0o022;

/// Opens a file. Also returns whether its path has no symbolic link.
///
/// # Errors
/// Those of `open(2)`.
pub fn open(name: &Path) -> io::Result<(File, bool)> {
    let is_plain = |part| matches!(part, Component::RootDir | Component::Normal(_));
    if name.is_absolute() && name.components().all(is_plain) {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = openat2(CWD, name, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS);
        if let Ok(file) = opened {
            return Ok((file.into(), true));
        }
    }
    // A symbolic link, an old kernel (before Linux 5.6), or an error that `open` returns again.
    Ok((File::open(name)?, false))
}

/// Checks that only root or the host's user can write `file` and the folders above it.
///
/// Unless `name` has no symbolic link (`is_straight`, see [`open`]), the folders are those that the kernel reports
/// for the open file, so a symbolic link cannot hide them. The links must belong to root or the host's user, too: the
/// owner of a link chooses which of the trusted files is loaded.
///
/// # Errors
/// The first reason not to trust it.
pub fn check_trust(file: &File, name: &Path, is_straight: bool) -> Result<(), Distrust> {
    let unknown = |path: &Path, error| Distrust::Unknown {
        path: path.to_owned(),
        error,
    };
    let path = match is_straight {
        true => name.to_owned(),
        false => {
            let link = format!("/proc/self/fd/{}", file.as_raw_fd());
            fs::read_link(&link).map_err(|error| unknown(Path::new(&link), error))?
        }
    };
    check(&path, &file.metadata().map_err(|error| unknown(&path, error))?)?;
    for folder in path.ancestors().skip(1) {
        check(folder, &fs::metadata(folder).map_err(|error| unknown(folder, error))?)?;
    }
    match path == name {
        true => Ok(()),
        false => check_links(name, MOST_LINKS).map_err(|error| unknown(name, error))?,
    }
}

/// The most symbolic links of a path (`path_resolution(7)`).
const MOST_LINKS: u32 = 40;

/// Do all symbolic links of an absolute path belong to root or the host's user?
fn check_links(path: &Path, most: u32) -> io::Result<Result<(), Distrust>> {
    let mut at = PathBuf::new();
    for part in path {
        at.push(part);
        let metadata = fs::symlink_metadata(&at)?;
        if !metadata.is_symlink() {
            continue;
        }
        if let Err(Stranger { owner, us }) = check_owner(&metadata) {
            let path = at;
            return Ok(Err(Distrust::Link { path, owner, us }));
        }
        let target = at.with_file_name("").join(fs::read_link(&at)?);
        let left = most.checked_sub(1).ok_or(io::ErrorKind::InvalidInput)?;
        if let Err(distrust) = check_links(&target, left)? {
            return Ok(Err(distrust));
        }
        at = at.canonicalize()?;
    }
    Ok(Ok(()))
}

fn check(path: &Path, metadata: &Metadata) -> Result<(), Distrust> {
    if let Err(Stranger { owner, us }) = check_owner(metadata) {
        let path = path.to_owned();
        return Err(Distrust::Owner { path, owner, us });
    }
    let shared_folder = metadata.is_dir() && metadata.mode() & STICKY != 0;
    if metadata.mode() & OTHERS_WRITE != 0 && !shared_folder {
        return Err(Distrust::Writable { path: path.to_owned() });
    }
    Ok(())
}

/// An owner that is neither root nor the host's user.
struct Stranger {
    owner: u32,
    us: u32,
}

fn check_owner(metadata: &Metadata) -> Result<(), Stranger> {
    // Read once: it does not change, and each cold start checks a dozen folders.
    static US: LazyLock<u32> = LazyLock::new(|| rustix::process::geteuid().as_raw());
    let (owner, us) = (metadata.uid(), *US);
    match owner == 0 || owner == us {
        true => Ok(()),
        false => Err(Stranger { owner, us }),
    }
}

/// Loads native code from a trusted file.
///
/// A copy is mapped, not the file: an administrator who copies a new artifact over the old one
/// (`cp`, `scp`) changes the file in place, and under a mapping that changes the running code.
/// Making it takes a good part of a cold start: see [`map`].
///
/// # Errors
/// When the artifact was made for another engine or other settings, or is damaged.
pub fn load(engines: &Engines, file: &File) -> wasmtime::Result<(Code, File)> {
    let size = usize::try_from(file.metadata()?.len())?;
    let copy = File::from(memfd_create(c"artifact", MemfdFlags::CLOEXEC)?);
    let mut copied = 0;
    while copied < size {
        match sendfile(&copy, file, None, size - copied)? {
            0 => wasmtime::bail!("the file became shorter while it was read"),
            count => copied += count,
        }
    }
    // SAFETY: this is what our compiler made (`check_trust`: only root and the host's user can have written it), and
    // no other process has the copy.
    unsafe { deserialize(engines, copy) }
}

/// As [`load`], for a trusted file that is never changed in place: the file itself is mapped.
///
/// # Errors
/// As [`load`].
pub fn map(engines: &Engines, file: File) -> wasmtime::Result<(Code, File)> {
    // SAFETY: as in `load`; files in the cache are replaced, and never written to.
    unsafe { deserialize(engines, file) }
}

/// As [`load`], for an artifact that is not in a file.
///
/// # Safety
/// The bytes must come from the compiler, unchanged: see [`Module::deserialize`].
///
/// # Errors
/// As [`load`].
pub unsafe fn load_bytes(engines: &Engines, bytes: &[u8]) -> wasmtime::Result<(Code, File)> {
    let mut copy = File::from(memfd_create(c"artifact", MemfdFlags::CLOEXEC)?);
    copy.write_all(bytes)?;
    // SAFETY: the caller upholds it, and no other process has the copy.
    unsafe { deserialize(engines, copy) }
}

/// # Safety
/// The file must hold what the compiler made, unchanged, and stay so: see [`Code::load`].
unsafe fn deserialize(engines: &Engines, file: File) -> wasmtime::Result<(Code, File)> {
    // An artifact does not tell which engine it was made for, so each is tried.
    let mut first_error = None;
    for engine in engines.all() {
        // SAFETY: the caller upholds it.
        match unsafe { Code::load(engine?, &file) } {
            Ok(code) => return Ok((code, file)),
            Err(error) => first_error = first_error.or(Some(error)),
        }
    }
    Err(first_error.expect("there are engines"))
}

/// Opens a file that only root or the host's user can have written.
///
/// # Errors
/// See [`LoadError`].
pub fn open_trusted(path: &Path) -> Result<File, LoadError> {
    let path_buf = || path.to_owned();
    let (file, is_straight) = open(path).map_err(|error| unreadable(path, error))?;
    check_trust(&file, path, is_straight).map_err(|reason| LoadError::Distrusted {
        path: path_buf(),
        reason,
    })?;
    Ok(file)
}

/// The error for a file that cannot be opened; distinguishes a refusal by the sandbox.
pub fn unreadable(path: &Path, error: io::Error) -> LoadError {
    let path = path.to_owned();
    if sandbox::refuses(&path, &error) {
        return LoadError::Outdated { path };
    }
    LoadError::Unreadable { path, error }
}
