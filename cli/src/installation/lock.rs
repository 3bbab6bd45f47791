//! The lock of `install` and `uninstall`: one change at a time.

use super::durable::make_folder;
use super::interrupt::Interrupts;
use super::program::Progress;
use rustix::fs::{FlockOperation, flock};
use std::cell::RefCell;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How often a lock that another process holds is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// How long a wait is not worth a message.
const QUIET: Duration = Duration::from_millis(200);

/// A lock (`flock(2)`) on a file that only its owner may open. When dropped, the file is removed, and its folder if
/// that is empty.
#[derive(Debug)]
pub struct Lock {
    path: PathBuf,
    /// Folders that are removed at the end if they are empty, each after those above it.
    folders: RefCell<Vec<PathBuf>>,
    _file: File,
}

impl Lock {
    /// Makes the file and locks it. If another process holds the lock, waits for it; `say` gets a message then.
    ///
    /// # Errors
    /// When the file cannot be made, or a signal came.
    pub fn wait_for(path: &Path, interrupts: &Interrupts, say: &dyn Fn(&str)) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        let folder = path.parent().unwrap_or(path);
        let (started, mut has_said, mut made) = (Instant::now(), false, Vec::new());
        let mut progress = Progress::new("waiting for another install or uninstall");
        loop {
            let mut options = File::options();
            let file = options.write(true).create(true).truncate(false).mode(0o600).open(path);
            let file = match file {
                // The one that held the lock has removed the folder just now.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    match make_folder(folder, 0o700) {
                        Ok(folders) => made.extend(folders),
                        // Again.
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        Err(error) => return Err(failed(error)),
                    }
                    continue;
                }
                file => file.map_err(failed)?,
            };
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) if is_at(&file, path) => {
                    return Ok(Self {
                        path: path.to_owned(),
                        folders: RefCell::new(made),
                        _file: file,
                    });
                }
                // The former holder has removed the file.
                Ok(()) => continue,
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(error) => return Err(failed(error.into())),
            }
            if !has_said && started.elapsed() > QUIET {
                say("another install or uninstall is running: waiting for its end");
                has_said = true;
            }
            interrupts.check()?;
            progress.show();
            thread::sleep(RETRY);
        }
    }
}

impl Lock {
    /// The folders that were made for the lock.
    pub fn made(&self) -> Vec<PathBuf> {
        self.folders.borrow().clone()
    }

    /// At the end, also these folders are removed if they are empty.
    pub fn remove_at_end(&self, folders: &[PathBuf]) {
        self.folders.borrow_mut().extend_from_slice(folders);
    }
}

/// Is it this file that has this name?
fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    let (open, named) = (file.metadata().map(identity), fs::metadata(path).map(identity));
    matches!((open, named), (Ok(open), Ok(named)) if open == named)
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The next one makes it again; the folder stays when something is in it.
        let _ = fs::remove_file(&self.path);
        let _ = self.path.parent().map(fs::remove_dir);
        for folder in self.folders.borrow().iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
    use std::sync::mpsc;

    #[test]
    fn two_are_never_inside_at_the_same_time_and_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("install/lock");
        let inside = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        let lock = Lock::wait_for(&path, &Interrupts::default(), &|_| ()).unwrap();
                        assert_eq!(inside.fetch_add(1, SeqCst), 0, "another one is inside");
                        inside.fetch_sub(1, SeqCst);
                        drop(lock);
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_one_that_waits_is_told_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("install/lock");
        let first = Lock::wait_for(&path, &Interrupts::default(), &|_| panic!("the lock is free")).unwrap();
        let (said, told) = mpsc::channel();
        let second = thread::spawn(move || {
            Lock::wait_for(&path, &Interrupts::default(), &|text| {
                said.send(text.to_owned()).unwrap()
            })
            .unwrap();
        });
        assert!(told.recv().unwrap().contains("waiting for its end"));
        drop(first);
        second.join().unwrap();
    }
}
