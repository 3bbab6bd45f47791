//! Files that are there after a power failure, or not at all (`fsync(2)`, `rename(2)`).

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Makes a folder and those above it, as far as they are missing. Returns those that are new, each after those above it.
///
/// # Errors
/// Those of `mkdir(2)`.
pub fn make_folder(path: &Path, mode: u32) -> io::Result<Vec<PathBuf>> {
    if path.is_dir() {
        return Ok(Vec::new());
    }
    let mut made = match path.parent() {
        Some(parent) => make_folder(parent, 0o755)?,
        None => Vec::new(),
    };
    while let Err(error) = DirBuilder::new().mode(mode).create(path) {
        if error.kind() != ErrorKind::AlreadyExists {
            return Err(error);
        }
        match path.symlink_metadata() {
            // A file, or a link that leads nowhere.
            Ok(there) if !there.is_dir() && !path.is_dir() => return Err(error),
            // Another process was faster,
            Ok(_) => return Ok(made),
            // and has removed it since.
            Err(gone) if gone.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    // The umask must not hide it from the service. By the descriptor: others may be able to rename in the folder above.
    let mut options = File::options();
    let folder = options
        .read(true)
        .custom_flags(libc::O_DIRECTORY | libc::O_NOFOLLOW)
        .open(path)?;
    folder.set_permissions(Permissions::from_mode(mode))?;
    made.push(path.to_owned());
    Ok(made)
}

/// Writes a file that may not exist yet. It is on the disk when this returns; its name is after [`sync_folder`].
///
/// # Errors
/// Those of the file system.
pub fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

/// Writes a file so that other processes, and the next boot, see all of it or nothing.
///
/// # Errors
/// Those of the file system.
pub fn write_whole(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let unfinished = beside(path);
    remove_if_there(&unfinished)?;
    write_new(&unfinished, content, mode)?;
    rename(&unfinished, path)
}

/// Renames a file, also to another file system: by way of [`beside`], so that the new name never has half a file.
///
/// # Errors
/// Those of the file system.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == ErrorKind::CrossesDevices => {
            let near = beside(to);
            copy(from, &near)?;
            fs::rename(&near, to)?;
            fs::remove_file(from)?;
        }
        renamed => renamed?,
    }
    sync_folder(to.parent().unwrap_or(to))
}

/// Keeps a file under a second name: by a link, or by a copy where that is impossible.
///
/// # Errors
/// Those of the file system.
pub fn keep(file: &Path, copy_at: &Path) -> io::Result<()> {
    // A symbolic link is kept as what it points to: rename(2) replaces the link.
    if !file.is_symlink() && fs::hard_link(file, copy_at).is_ok() {
        return Ok(());
    }
    copy(file, copy_at)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    remove_if_there(to)?;
    let mut original = File::open(from)?;
    let metadata = original.metadata()?;
    // Exclusively, and all else by the descriptor: others who may write to the folder could put a link there.
    let mut copy = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    io::copy(&mut original, &mut copy)?;
    // Only root can give a file away; a user's files are the user's.
    let _ = fchown(&copy, Some(metadata.uid()), Some(metadata.gid()));
    copy.set_permissions(Permissions::from_mode(metadata.mode() & 0o7777))?;
    copy.sync_all()
}

/// The name of a file that becomes `path`. It is hidden, so it is no module and no configuration yet.
pub fn beside(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.install"))
}

/// Writes the names in a folder to the disk.
///
/// # Errors
/// Those of `fsync(2)`.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes a file that may be missing; returns whether it was there.
///
/// # Errors
/// Those of `unlink(2)`.
pub fn remove_if_there(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a folder and all that is in it, if it is there.
///
/// # Errors
/// Those of the file system.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;
    use std::thread;

    #[test]
    fn a_file_moves_to_another_file_system_with_its_rights() {
        let here = tempfile::tempdir().unwrap();
        let Ok(there) = tempfile::tempdir_in("/dev/shm") else {
            return;
        };
        let (from, to) = (here.path().join("from"), there.path().join("to"));
        write_new(&from, b"content", 0o640).unwrap();
        rename(&from, &to).unwrap();
        assert_eq!(fs::read(&to).unwrap(), b"content");
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o777, 0o640);
        assert!(!from.exists());
        assert_eq!(fs::read_dir(there.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_is_made_while_others_make_and_remove_it() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        match make_folder(&folder, 0o700) {
                            // Removed at once.
                            Err(error) => assert_eq!(error.kind(), ErrorKind::NotFound, "{error}"),
                            Ok(_) => _ = fs::remove_dir(&folder),
                        }
                    }
                });
            }
        });
    }

    #[test]
    fn what_is_no_folder_stays() {
        let dir = tempfile::tempdir().unwrap();
        let [file, link] = ["file", "link"].map(|name| dir.path().join(name));
        fs::write(&file, "").unwrap();
        symlink("nowhere", &link).unwrap();
        for path in [file, link] {
            assert_eq!(make_folder(&path, 0o700).unwrap_err().kind(), ErrorKind::AlreadyExists);
        }
    }

    #[test]
    fn a_file_is_kept_as_it_is_when_another_takes_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let [path, kept, new] = ["path", "kept", "new"].map(|name| dir.path().join(name));
        write_new(&path, b"former", 0o644).unwrap();
        keep(&path, &kept).unwrap();
        write_new(&new, b"new", 0o644).unwrap();
        rename(&new, &path).unwrap();
        assert_eq!(fs::read(&kept).unwrap(), b"former");
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }
}
