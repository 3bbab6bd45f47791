//! Where the file of a handler is: `$STATE_DIRECTORY/HANDLER/keyvalue.sqlite`.

use rustix::fs::{Mode, OFlags, fsync, mkdir, open};
use rustix::io::Errno;
use std::io;
use std::path::{Path, PathBuf};

/// The file of a handler. `state` is the service's `StateDirectory=`.
pub fn file_of(state: &Path, handler: &str) -> PathBuf {
    state.join(handler).join("keyvalue.sqlite")
}

/// Makes the folder of a file, which only this user may enter. A power failure does not undo it.
///
/// # Errors
/// Those of `mkdir(2)`, but that it is there already.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    match mkdir(folder, Mode::RWXU) {
        Err(Errno::EXIST) => Ok(()),
        made => {
            made?;
            let above = folder.parent().unwrap_or(Path::new("/"));
            let parent = open(
                above,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
            );
            Ok(parent.and_then(fsync)?)
        }
    }
}
