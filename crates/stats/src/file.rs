//! Finding, making and growing a file of counters, and the locks in it.

use crate::layout::{Geometry, Header, MAGIC, MAX_NAME, MAX_SIZE, is_name, key};
use crate::mapping::Mapping;
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, FlockOperation, Mode, OFlags, RenameFlags, fallocate, fchmod, flock,
    fstat, mkdir, open, rename, renameat_with, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{geteuid, getpid};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::thread::sleep;
use std::time::Duration;

/// The file of hosts with several handlers.
pub const SHARED: &str = "@shared";

/// Files that are being made begin so.
const UNFINISHED: &str = "@new.";

/// Everyone may read the counters, whatever the umask of the service.
const FILE_MODE: Mode = Mode::from_raw_mode(0o644);
const DIRECTORY_MODE: Mode = Mode::from_raw_mode(0o755);

/// Room for handlers that a shared file does not know yet.
const MIN_SPARE_HANDLERS: u64 = 32;

/// How often, and after which pause, the lock of the directory is tried. Another user could hold it for ever.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(1);

/// The name of the file for these handlers, of which there are a `count`. Names that are no file names of their own are
/// in the shared file.
pub fn name_of<'a>(names: impl IntoIterator<Item = &'a str>) -> (&'a str, u64) {
    let mut names = names.into_iter();
    let (first, more) = (names.next().unwrap_or_default(), names.count() as u64);
    let has_own = more == 0 && is_own(first);
    match has_own {
        true => (first, 1),
        // Half of it stays free, so that a name is found near the place where its hash leads.
        false => (SHARED, 1 + more + (1 + more).max(MIN_SPARE_HANDLERS)),
    }
}

/// Can a handler of this name have a file of its own?
pub fn is_own(name: &str) -> bool {
    let is_file = !name.contains('/') && !name.starts_with(['.', '@']);
    is_name(name.as_bytes()) && name.len() <= MAX_NAME && is_file
}

/// Is it a file that is being made?
pub fn is_unfinished(name: &[u8]) -> bool {
    name.starts_with(UNFINISHED.as_bytes())
}

/// A file that is open, for locks and to grow.
pub struct Open {
    pub file: OwnedFd,
    pub mapping: Mapping,
}

/// Opens the file in `directory`, and makes both if they are not there. A file that cannot be used (of another version,
/// another size, another user) is replaced.
///
/// # Errors
/// Those of the file system; such as that it is full, or read-only.
pub fn open_or_make(directory: &Path, name: &str, handlers: u64) -> io::Result<Open> {
    let path = directory.join(name);
    for _ in 0..ATTEMPTS {
        match open_at(&path, name)? {
            Found::Usable(found) => return Ok(found),
            Found::Nothing => {
                make_directory(directory)?;
                if let Some(made) = make(directory, &path, handlers)? {
                    return Ok(made);
                }
                // Another process was faster.
            }
            Found::Unusable => return replace(directory, name, handlers),
        }
    }
    Err(io::Error::other("it comes and goes"))
}

enum Found {
    Usable(Open),
    Unusable,
    Nothing,
}

fn open_at(path: &Path, name: &str) -> io::Result<Found> {
    // NONBLOCK: a pipe of this name must not stop the host.
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = match open(path, flags, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        // A symbolic link, a pipe or a socket; another user's file, which the owner of the directory may replace.
        Err(Errno::LOOP | Errno::NXIO | Errno::NODEV | Errno::ACCESS) => return Ok(Found::Unusable),
        Err(error) => return Err(error.into()),
    };
    let stat = fstat(&file)?;
    // Another owner could make it smaller while it is mapped.
    let is_ours = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_uid == geteuid().as_raw();
    if !is_ours {
        return Ok(Found::Unusable);
    }
    Ok(match Mapping::new(&file, stat.st_size as u64)? {
        Some(mapping) if is_of(&mapping, name) => Found::Usable(Open { file, mapping }),
        _ => Found::Unusable,
    })
}

/// Is it the shared file, or that of this handler, and no copy of another's?
fn is_of(mapping: &Mapping, name: &str) -> bool {
    let first = mapping.handler(0).key.load(Relaxed);
    name == SHARED || first == 0 || first == key(name.as_bytes())
}

/// Makes the directory of the counters, which everyone may read, if it is not there.
///
/// # Errors
/// Those of `mkdir(2)` and `chmod(2)`.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    match mkdir(directory, DIRECTORY_MODE) {
        Ok(()) => {
            let made = open(directory, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
            Ok(fchmod(made, DIRECTORY_MODE)?)
        }
        Err(Errno::EXIST) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Makes the file, unless another process makes it at the same time.
fn make(directory: &Path, path: &Path, handlers: u64) -> io::Result<Option<Open>> {
    let unfinished = Unfinished::new(directory, handlers)?;
    match renameat_with(CWD, &unfinished.path, CWD, path, RenameFlags::NOREPLACE) {
        Ok(()) => unfinished.open().map(Some),
        Err(Errno::EXIST) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Replaces a file that cannot be used. Hosts that have it mapped go on counting where readers do not look.
fn replace(directory: &Path, name: &str, handlers: u64) -> io::Result<Open> {
    let path = directory.join(name);
    let locked = open(directory, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // Without a lock, two hosts would replace each other's new file.
    lock_directory(&locked)?;
    if let Found::Usable(found) = open_at(&path, name)? {
        return Ok(found);
    }
    let unfinished = Unfinished::new(directory, handlers)?;
    rename(&unfinished.path, &path)?;
    unfinished.open()
}

fn lock_directory(directory: &OwnedFd) -> io::Result<()> {
    for _ in 0..ATTEMPTS {
        match flock(directory, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => sleep(PAUSE),
            result => return Ok(result?),
        }
    }
    Err(io::Error::other("another process holds a lock on its directory"))
}

/// A file that has no name of its own yet. It is removed if it does not get one.
struct Unfinished {
    path: PathBuf,
    file: OwnedFd,
    size: u64,
}

impl Unfinished {
    fn new(directory: &Path, handlers: u64) -> io::Result<Self> {
        let path = directory.join(format!("{UNFINISHED}{}", getpid()));
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = match open(&path, flags, FILE_MODE) {
            // Of a process with the same number that was killed.
            Err(Errno::EXIST) => {
                unlinkat(CWD, &path, AtFlags::empty())?;
                open(&path, flags, FILE_MODE)?
            }
            result => result?,
        };
        let size = Geometry::size(handlers, 1);
        let unfinished = Self { path, file, size };
        fchmod(&unfinished.file, FILE_MODE)?;
        allocate(&unfinished.file, size)?;
        let header = [MAGIC, handlers, crate::table::now()].map(u64::to_ne_bytes).concat();
        debug_assert!(header.len() <= size_of::<Header>());
        match rustix::io::pwrite(&unfinished.file, &header, 0)? {
            written if written == header.len() => Ok(unfinished),
            _ => Err(Errno::NOSPC.into()),
        }
    }

    fn open(self) -> io::Result<Open> {
        let mapping = Mapping::new(&self.file, self.size)?.ok_or(io::ErrorKind::InvalidData)?;
        let file = self.file.try_clone()?;
        Ok(Open { file, mapping })
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // It is not there if it has got its name.
        let _ = unlinkat(CWD, &self.path, AtFlags::empty());
    }
}

/// Makes the file at least as large, and its space its own: a full file system would kill a process that writes to a
/// page which has none yet (`SIGBUS`, `mmap(2)`).
///
/// # Errors
/// Those of `fallocate(2)`.
fn allocate(file: &OwnedFd, size: u64) -> io::Result<()> {
    loop {
        match fallocate(file, FallocateFlags::empty(), 0, size) {
            Err(Errno::INTR) => {}
            result => return Ok(result?),
        }
    }
}

impl Open {
    /// Makes room for about twice as many processes.
    ///
    /// # Errors
    /// Those of the file system; when the file is as large as it may be.
    pub fn grow(&mut self) -> io::Result<()> {
        let Geometry { handlers, processes } = self.mapping.geometry;
        let size = Geometry::size(handlers as u64, processes as u64 * 2);
        let is_larger = Geometry::of(handlers as u64, size).is_some_and(|new| new.processes > processes);
        if size > MAX_SIZE || !is_larger {
            return Err(io::Error::other("too many hosts are running at a time"));
        }
        // It never makes a file smaller, as ftruncate(2) would if another process has just made it even larger.
        allocate(&self.file, size)?;
        let size = fstat(&self.file)?.st_size as u64;
        self.mapping = Mapping::new(&self.file, size)?.ok_or(io::ErrorKind::InvalidData)?;
        Ok(())
    }

    /// Locks the byte at `offset`, if no other process has. The lock is held until the mapping is gone: it belongs to
    /// the open file description (`fcntl(2)`), which a mapping keeps. The file may be closed.
    ///
    /// # Errors
    /// Those of `fcntl(2)`.
    pub fn try_lock(&self, offset: usize) -> io::Result<bool> {
        let mut lock = whole_byte(libc::F_WRLCK, offset);
        // SAFETY: it is a valid lock, and the descriptor is open.
        match unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut lock) } {
            0 => Ok(true),
            _ => match io::Error::last_os_error() {
                error if matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EACCES)) => Ok(false),
                error => Err(error),
            },
        }
    }
}

/// Does a process that may write to the file hold a lock on the byte at `offset`? Locks of others, who can have it for
/// reading only, do not count.
///
/// # Errors
/// Those of `fcntl(2)`.
pub fn is_locked(file: &OwnedFd, offset: usize) -> io::Result<bool> {
    let mut lock = whole_byte(libc::F_RDLCK, offset);
    // SAFETY: it is a valid lock, which is overwritten with the one that is in its way.
    match unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut lock) } {
        0 => Ok(i32::from(lock.l_type) != libc::F_UNLCK),
        _ => Err(io::Error::last_os_error()),
    }
}

fn whole_byte(kind: libc::c_int, offset: usize) -> libc::flock {
    // SAFETY: it is a struct of numbers. (Its fields differ between systems.)
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = kind as libc::c_short;
    lock.l_whence = libc::SEEK_SET as libc::c_short;
    lock.l_start = offset as libc::off_t;
    lock.l_len = 1;
    lock
}
