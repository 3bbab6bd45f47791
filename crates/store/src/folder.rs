//! Where the file of a handler is: `STATE/HANDLER/keyvalue.sqlite`.

use rustix::fs::{Mode, OFlags, fsync, mkdir, open};
use rustix::io::Errno;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// The file of a handler. `state` has a folder for each handler.
pub fn file_of(state: &Path, handler: &str) -> PathBuf {
    state.join(handler).join("keyvalue.sqlite")
}

/// Makes the folder of a file, and what is missing above it. Only this user may enter it. A power failure does not undo
/// it.
///
/// # Errors
/// Those of `mkdir(2)`, but that it is there already.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    match mkdir(folder, Mode::RWXU) {
        Err(Errno::EXIST) => return Ok(()),
        Err(Errno::NOENT) => DirBuilder::new()
            .recursive(true)
            .mode(Mode::RWXU.bits())
            .create(folder)?,
        made => made?,
    }
    let above = folder.parent().unwrap_or(Path::new("/"));
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(open(above, flags, Mode::empty()).and_then(fsync)?)
}
