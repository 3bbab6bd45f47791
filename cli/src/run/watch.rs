//! Tells when the sources of a module change.
//!
//! The kernel says that something has changed (inotify(7)); what it is, a look at all files tells. So it does not
//! matter how an editor writes a file: in place, or by a rename.

use crate::CommandError;
use ignore::{DirEntry, WalkBuilder};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

/// After a change, further ones are waited for until there was none for this long. An editor or `git checkout` changes
/// many files.
const QUIET: Duration = Duration::from_millis(30);

/// But no longer than this.
const LONGEST: Duration = Duration::from_secs(1);

/// A file that changes during so many builds in a row is written by them.
const BUILDS: u32 = 4;

/// Folders of tools and of what they make, beside those that `.gitignore` names.
const SKIPPED: [&str; 11] = [
    "target",
    "build",
    "node_modules",
    "zig-out",
    "zig-cache",
    "zig-pkg",
    "dist",
    "out",
    "__pycache__",
    "venv",
    "wit_world",
];

/// What is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The sources in a folder.
    Folder(PathBuf),
    /// One file.
    File(PathBuf),
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct State {
    modified: Option<SystemTime>,
    length: u64,
    content: u64,
}

/// Watches `subject` in a thread of its own. Calls `changed` with the first file that has another content, until that
/// returns false. `is_building` says whether a build runs, which may write into the folder.
///
/// # Errors
/// When the kernel has no watches left, or a folder cannot be read.
pub fn start(
    subject: Subject,
    is_building: Arc<AtomicBool>,
    changed: impl Fn(&Path) -> bool + Send + 'static,
) -> Result<(), CommandError> {
    let failed = |error: notify::Error| {
        CommandError::Failed(format!(
            "--watch: {error} (see fs.inotify.max_user_watches in inotify(7))"
        ))
    };
    let (sender, events) = mpsc::channel();
    let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // Reading changes nothing.
        if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
            // The receiver is gone at the end.
            let _ = sender.send(());
        }
    });
    let mut watch = Watch {
        watcher: watcher.map_err(failed)?,
        folders: Vec::new(),
        states: BTreeMap::new(),
        builds: HashMap::new(),
        subject,
        is_building,
    };
    watch.add_folders().map_err(failed)?;
    watch.changes();
    thread::spawn(move || watch.run(&events, changed));
    Ok(())
}

struct Watch {
    watcher: RecommendedWatcher,
    folders: Vec<PathBuf>,
    states: BTreeMap<PathBuf, State>,
    /// In how many builds in a row a file has changed.
    builds: HashMap<PathBuf, u32>,
    subject: Subject,
    is_building: Arc<AtomicBool>,
}

impl Watch {
    fn run(mut self, events: &Receiver<()>, changed: impl Fn(&Path) -> bool) {
        while events.recv().is_ok() {
            let was_building = self.is_building.load(Relaxed);
            settle(events);
            // A folder that is gone, or no watch left: what is watched already still is.
            let _ = self.add_folders();
            let changes = self.changes();
            let change = changes.iter().find(|path| self.is_a_persons(path, was_building));
            if let Some(path) = change.cloned()
                && !changed(&path)
            {
                return;
            }
        }
    }

    /// Whether a change is to start a build: not if each build makes it.
    fn is_a_persons(&self, path: &Path, was_building: bool) -> bool {
        !was_building || self.builds.get(path).is_none_or(|builds| *builds < BUILDS)
    }

    /// The files whose content has changed since the last time, also those that are new or gone.
    fn changes(&mut self) -> Vec<PathBuf> {
        let mut former = std::mem::take(&mut self.states);
        let mut changes = Vec::new();
        for path in self.files() {
            let before = former.remove(&path);
            let Some(now) = state(&path, before.as_ref()) else {
                continue;
            };
            if before.is_none_or(|before| before.content != now.content) {
                changes.push(path.clone());
            }
            self.states.insert(path, now);
        }
        changes.extend(former.into_keys());
        let is_building = self.is_building.load(Relaxed);
        for path in &changes {
            match is_building {
                true => *self.builds.entry(path.clone()).or_default() += 1,
                false => drop(self.builds.remove(path)),
            }
        }
        changes
    }

    fn files(&self) -> Vec<PathBuf> {
        match &self.subject {
            Subject::File(file) => vec![file.clone()],
            Subject::Folder(folder) => {
                let entries = walk(folder).filter(|entry| entry.file_type().is_some_and(|kind| kind.is_file()));
                entries
                    .map(DirEntry::into_path)
                    .filter(|path| is_source(path))
                    .collect()
            }
        }
    }

    fn add_folders(&mut self) -> notify::Result<()> {
        let folders: Vec<PathBuf> = match &self.subject {
            // Not the file: a rename puts another in its place.
            Subject::File(file) => file.parent().map(Path::to_owned).into_iter().collect(),
            Subject::Folder(folder) => {
                let entries = walk(folder).filter(|entry| entry.file_type().is_some_and(|kind| kind.is_dir()));
                entries.map(DirEntry::into_path).collect()
            }
        };
        // One that is new where a former one was is not watched yet.
        self.folders.retain(|folder| folders.contains(folder));
        for folder in folders {
            if !self.folders.contains(&folder) {
                self.watcher.watch(&folder, RecursiveMode::NonRecursive)?;
                self.folders.push(folder);
            }
        }
        Ok(())
    }
}

/// Waits until there was no event for a while.
fn settle(events: &Receiver<()>) {
    let began = Instant::now();
    while began.elapsed() < LONGEST {
        match events.recv_timeout(QUIET) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return,
        }
    }
}

/// The files and folders below `folder` that a person writes, as far as is known.
fn walk(folder: &Path) -> impl Iterator<Item = DirEntry> {
    let mut walk = WalkBuilder::new(folder);
    // Hidden files and what `.gitignore` names are left out, also where there is no repository.
    walk.require_git(false).follow_links(false);
    walk.filter_entry(|entry| {
        let is_folder = entry.file_type().is_some_and(|kind| kind.is_dir());
        let is_skipped = is_folder && entry.depth() > 0 && SKIPPED.iter().any(|name| entry.file_name() == *name);
        // Python's environments have any name, and are known by a file.
        !(is_skipped || is_folder && entry.path().join("pyvenv.cfg").exists())
    });
    walk.build().filter_map(Result::ok)
}

/// Not what compilers make, nor what editors write beside the file.
fn is_source(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    let is_made = matches!(
        &*extension,
        "wasm" | "cwasm" | "o" | "a" | "swp" | "swx" | "tmp" | "orig" | "pyc"
    );
    // Vim tries whether it can make a file by this name.
    !is_made && !name.ends_with('~') && name != "4913"
}

/// `former` saves reading a file that looks the same.
fn state(path: &Path, former: Option<&State>) -> Option<State> {
    let metadata = fs::metadata(path).ok()?;
    let (modified, length) = (metadata.modified().ok(), metadata.len());
    if let Some(former) = former
        && (former.modified, former.length) == (modified, length)
        && modified.is_some()
        && !is_recent(modified)
    {
        return Some(former.clone());
    }
    let mut hasher = DefaultHasher::new();
    fs::read(path).ok()?.hash(&mut hasher);
    Some(State {
        modified,
        length,
        content: hasher.finish(),
    })
}

/// Two changes within the resolution of a file's times look like one.
fn is_recent(modified: Option<SystemTime>) -> bool {
    const RESOLUTION: Duration = Duration::from_millis(50);
    modified.is_some_and(|time| time.elapsed().unwrap_or_default() < RESOLUTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A watched folder, and the names of files that changed.
    fn watched(name: &str) -> (tempfile::TempDir, Receiver<String>, Arc<AtomicBool>) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("src")).unwrap();
        fs::write(folder.path().join("src/main.c"), "one").unwrap();
        fs::write(folder.path().join(".gitignore"), "made/\n").unwrap();
        let (sender, receiver) = mpsc::channel();
        let building = Arc::new(AtomicBool::new(false));
        let subject = match name {
            "" => Subject::Folder(folder.path().to_owned()),
            name => Subject::File(folder.path().join(name)),
        };
        let tell = move |path: &Path| {
            sender
                .send(path.file_name().unwrap().to_string_lossy().into_owned())
                .is_ok()
        };
        start(subject, building.clone(), tell).unwrap();
        (folder, receiver, building)
    }

    const PATIENCE: Duration = Duration::from_secs(10);

    fn next(changes: &Receiver<String>) -> String {
        changes.recv_timeout(PATIENCE).expect("a change is told")
    }

    /// A change that must be told, after what must not be.
    fn expect_nothing_before_marker(folder: &Path, changes: &Receiver<String>) {
        thread::sleep(QUIET * 3);
        fs::write(folder.join("src/marker"), format!("{:?}", SystemTime::now())).unwrap();
        assert_eq!(next(changes), "marker");
    }

    #[test]
    fn a_file_that_is_written_renamed_or_new_is_told_once() {
        let (folder, changes, _) = watched("");
        let main = folder.path().join("src/main.c");
        fs::write(&main, "two").unwrap();
        assert_eq!(next(&changes), "main.c");
        fs::write(folder.path().join("src/.main.c.tmp"), "three").unwrap();
        fs::rename(folder.path().join("src/.main.c.tmp"), &main).unwrap();
        assert_eq!(next(&changes), "main.c");
        fs::create_dir(folder.path().join("src/new")).unwrap();
        expect_nothing_before_marker(folder.path(), &changes);
        fs::write(folder.path().join("src/new/more.c"), "four").unwrap();
        assert_eq!(next(&changes), "more.c");
        fs::remove_file(&main).unwrap();
        assert_eq!(next(&changes), "main.c");
    }

    #[test]
    fn what_a_build_makes_and_the_same_content_again_are_not_told() {
        let (folder, changes, _) = watched("");
        for name in ["target", "made", "node_modules", ".git"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        expect_nothing_before_marker(folder.path(), &changes);
        for name in [
            "target/a",
            "made/a",
            "node_modules/a.js",
            ".git/HEAD",
            "a.wasm",
            "src/main.c~",
        ] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        fs::write(folder.path().join("src/main.c"), "one").unwrap();
        expect_nothing_before_marker(folder.path(), &changes);
    }

    #[test]
    fn a_file_that_every_build_writes_starts_no_more_builds() {
        let (folder, changes, building) = watched("");
        let generated = folder.path().join("src/generated.c");
        building.store(true, Relaxed);
        for build in 1..BUILDS {
            fs::write(&generated, format!("build {build}")).unwrap();
            assert_eq!(next(&changes), "generated.c");
        }
        fs::write(&generated, "the last build").unwrap();
        expect_nothing_before_marker(folder.path(), &changes);
        building.store(false, Relaxed);
        fs::write(&generated, "a person").unwrap();
        assert_eq!(next(&changes), "generated.c");
    }

    #[test]
    fn one_file_is_watched_and_not_its_neighbours() {
        let (folder, changes, _) = watched("a.wasm");
        fs::write(folder.path().join("b.wasm"), "b").unwrap();
        thread::sleep(QUIET * 3);
        fs::write(folder.path().join("new"), "a").unwrap();
        fs::rename(folder.path().join("new"), folder.path().join("a.wasm")).unwrap();
        assert_eq!(next(&changes), "a.wasm");
    }
}
