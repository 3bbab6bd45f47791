//! The files of a module (`.wasm`, `.cwasm`): which one is loaded, and detecting replaced files by stat(2).

use crate::config::HandlerConfig;
use std::fmt::{self, Formatter, LowerHex};
use std::fs::{self, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long after its last change a file may be half written. `cp` and `scp` write into the file in place, unlike
/// `install` and `mv`.
pub const FRESH: Duration = Duration::from_millis(500);

/// Seconds between the changes of two files that were installed together: `cp hello.* DIRECTORY` copies one after the
/// other.
const SLACK: i64 = 1;

/// The two files of a module, with the same name in the same folder: `hello.wasm`, made by a toolchain, and
/// `hello.cwasm`, made from it by `wasm-sock compile`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files {
    pub cwasm: PathBuf,
    pub wasm: PathBuf,
}

/// Identifies a version of a file by its metadata. The change time (ctime) cannot be set by users, so a replaced file
/// of the same size and modification time is detected, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// The stamps of both files of a module; equal stamps mean that nothing was replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    cwasm: Option<FileStamp>,
    wasm: Option<FileStamp>,
}

impl Files {
    /// The files of handler `name`: those of its `module`, or of its name in the module directory.
    pub fn of(name: &str, config: &HandlerConfig, modules: &Path) -> Self {
        match &config.module {
            Some(path) => Self::at(path),
            // Not `with_extension`: a name may have a dot of its own.
            None => Self {
                cwasm: modules.join(format!("{name}.cwasm")),
                wasm: modules.join(format!("{name}.wasm")),
            },
        }
    }

    /// Is one of them there?
    pub fn are_there(&self) -> bool {
        self.wasm.exists() || self.cwasm.exists()
    }

    /// The files that `path` names: either form, or a file with a name of its own.
    pub fn at(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("wasm" | "cwasm") => Self {
                cwasm: path.with_extension("cwasm"),
                wasm: path.with_extension("wasm"),
            },
            _ => Self {
                cwasm: path.to_owned(),
                wasm: path.to_owned(),
            },
        }
    }

    /// The current stamps of the files.
    pub fn stamp(&self) -> Stamp {
        // A file without a stamp cannot be loaded, either.
        let stamp = |path| FileStamp::at(path).ok().flatten();
        Stamp {
            cwasm: stamp(&self.cwasm),
            wasm: stamp(&self.wasm),
        }
    }
}

impl FileStamp {
    /// The stamp of the file at this path; `None`: there is no file.
    ///
    /// # Errors
    /// Those of stat(2).
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::of(&metadata))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn of(file: &Metadata) -> Self {
        Self {
            device: file.dev(),
            inode: file.ino(),
            size: file.size(),
            modified: (file.mtime(), file.mtime_nsec()),
            changed: (file.ctime(), file.ctime_nsec()),
        }
    }

    /// Was it changed less than `age` ago?
    pub fn is_younger_than(&self, age: Duration) -> bool {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        now.checked_sub(self.change()).is_some_and(|passed| passed < age)
    }

    /// The time of its last change, since 1970.
    fn change(&self) -> Duration {
        let (seconds, nanoseconds) = self.changed;
        Duration::new(seconds as u64, nanoseconds as u32)
    }
}

/// All fields as hexadecimal digits, for file names in the cache.
impl LowerHex for FileStamp {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (modified, changed) = (self.modified, self.changed);
        write!(f, "{:x}-{:x}-{:x}", self.device, self.inode, self.size)?;
        write!(f, "-{:x}.{:x}", modified.0, modified.1)?;
        write!(f, "-{:x}.{:x}", changed.0, changed.1)
    }
}

impl Stamp {
    /// Is there a `.cwasm`, and is it not older than the `.wasm` beside it? If only one of them was replaced, that
    /// one is used, even if it has kept an old modification time (`cp -p`, `rsync -a`, `mv`): the change time counts.
    pub fn prefers_cwasm(&self) -> bool {
        match (&self.cwasm, &self.wasm) {
            (Some(cwasm), Some(wasm)) => {
                let is_later = |(wasm, _): (i64, i64), (cwasm, _): (i64, i64)| wasm > cwasm + SLACK;
                !is_later(wasm.modified, cwasm.modified) && !is_later(wasm.changed, cwasm.changed)
            }
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    /// Was one of the files changed less than `age` ago?
    pub fn is_younger_than(&self, age: Duration) -> bool {
        let mut files = self.cwasm.iter().chain(&self.wasm);
        files.any(|file| file.is_younger_than(age))
    }

    /// Do both files exist?
    pub fn has_both(&self) -> bool {
        self.cwasm.is_some() && self.wasm.is_some()
    }

    pub fn has_wasm(&self) -> bool {
        self.wasm.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, age: Duration) {
        fs::write(path, "x").unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(SystemTime::now() - age).unwrap();
    }

    #[test]
    fn a_name_with_a_dot_keeps_it() {
        let files = Files::of("api.v2", &HandlerConfig::default(), Path::new("/m"));
        assert_eq!(files.wasm, Path::new("/m/api.v2.wasm"));
    }

    #[test]
    fn the_artifact_is_taken_unless_the_module_came_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::at(&dir.path().join("hello.wasm"));
        write(&files.wasm, Duration::from_secs(20));
        assert!(!files.stamp().prefers_cwasm(), "there is none");
        write(&files.cwasm, Duration::from_secs(10));
        assert!(files.stamp().prefers_cwasm());
        write(&files.wasm, Duration::from_secs(1));
        assert!(!files.stamp().prefers_cwasm(), "the module was built anew");
        write(&files.cwasm, Duration::ZERO);
        assert!(files.stamp().prefers_cwasm());
        // Another module, built long ago, takes its place, a little later.
        let deadline = SystemTime::now() + Duration::from_secs(10);
        while files.stamp().prefers_cwasm() {
            assert!(SystemTime::now() < deadline, "the artifact is still preferred");
            let old = dir.path().join("old");
            write(&old, Duration::from_secs(1000));
            fs::rename(&old, &files.wasm).unwrap();
        }
    }

    #[test]
    fn a_replaced_file_has_another_stamp_even_when_size_and_time_are_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let files = Files::at(&dir.path().join("hello.wasm"));
        write(&files.wasm, Duration::ZERO);
        let (before, modified) = (files.stamp(), fs::metadata(&files.wasm).unwrap().modified());
        assert_eq!(before, files.stamp());
        let other = dir.path().join("other");
        fs::write(&other, "y").unwrap();
        let file = fs::File::options().write(true).open(&other).unwrap();
        file.set_modified(modified.unwrap()).unwrap();
        fs::rename(&other, &files.wasm).unwrap();
        assert_ne!(before, files.stamp());
    }
}
