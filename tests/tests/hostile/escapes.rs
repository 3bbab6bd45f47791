//! Out of the folders that a guest was granted there is no way.

use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;

use harness::{Address, Kind, World, each_kind};
use rustix::fs::{CWD, RenameFlags, renameat_with};

/// What is in the file that no guest was granted.
const SECRET: &str = "the moon is hollow";

/// A world with the folders `rw` and `ro`, and `secret` beside them.
struct Folders {
    world: World,
    settings: String,
}

impl Folders {
    fn new(kind: Kind) -> Self {
        let world = World::new(kind);
        for folder in ["secret", "rw/sub", "ro/empty"] {
            fs::create_dir_all(world.path(folder)).unwrap();
        }
        fs::write(world.path("secret/key"), SECRET).unwrap();
        fs::write(world.path("rw/own"), "own").unwrap();
        fs::write(world.path("ro/file"), "as it was").unwrap();
        let grant = |name: &str, access: &str| {
            let host = world.path(name);
            format!("{{ host = {host:?}, guest = \"/{name}\", access = \"{access}\" }}")
        };
        let settings = format!(
            "dirs = [{}, {}]\ncpu-time = \"30s\"",
            grant("rw", "read-write"),
            grant("ro", "read-only")
        );
        Self { world, settings }
    }

    fn actor(&self, part: &str) -> Address {
        let name = part.split(' ').next().unwrap_or_default();
        self.world.actor_port(name, part, &self.settings)
    }

    /// What must be as it was: names, contents, times and numbers of links.
    fn others(&self) -> Vec<String> {
        let mut all = Vec::new();
        for folder in ["secret", "ro"] {
            describe(&self.world.path(folder), &mut all);
        }
        all
    }
}

fn describe(path: &Path, all: &mut Vec<String>) {
    let metadata = fs::symlink_metadata(path).unwrap();
    let content = fs::read_to_string(path).unwrap_or_default();
    let (links, modified) = (metadata.nlink(), metadata.modified().unwrap());
    all.push(format!("{path:?} {links} {modified:?} {content}"));
    if metadata.is_dir() {
        let mut entries: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for entry in entries {
            describe(&entry, all);
        }
    }
}

each_kind! { BOTH: every_way_out_of_a_folder_and_into_a_read_only_one_is_refused }
fn every_way_out_of_a_folder_and_into_a_read_only_one_is_refused(kind: Kind) {
    let folders = Folders::new(kind);
    let world = &folders.world;
    let secret = world.path("secret");
    for (link, target) in [
        ("relative", Path::new("../secret")),
        ("absolute", &secret),
        (
            "root",
            &Path::new("/proc/self/root").join(secret.strip_prefix("/").unwrap()),
        ),
        ("parent", Path::new("..")),
        ("self", Path::new("/proc/self")),
        ("loop", Path::new("loop")),
    ] {
        symlink(target, world.path("rw").join(link)).unwrap();
    }
    let escape = folders.actor(&format!("escape {}", secret.display()));
    let _host = world.start(&[]);
    let before = folders.others();
    let answer = escape.knock();
    assert_eq!(folders.others(), before, "{}", answer.text());
    let attempts = answer.text();
    for attempt in attempts.lines() {
        assert!(attempt.contains(": refused: "), "{attempt}");
    }
    assert!(!attempts.contains(SECRET), "{attempts}");
    assert!(attempts.lines().count() > 200, "too few: {attempts}");
    let last = attempts.lines().last().unwrap_or_default();
    assert!(last.starts_with("remove the folder /ro/empty"), "{last}");
}

each_kind! { BOTH: a_link_that_takes_a_folders_place_at_the_wrong_moment_is_not_followed }
/// A folder and a link to the secret change places all the time: whatever a path was checked for
/// may be something else when it is opened.
fn a_link_that_takes_a_folders_place_at_the_wrong_moment_is_not_followed(kind: Kind) {
    let folders = Folders::new(kind);
    let world = &folders.world;
    fs::write(world.path("rw/sub/key"), "own").unwrap();
    symlink("../secret", world.path("rw/link")).unwrap();
    let peek = folders.actor("peek /rw/sub/key 20000");
    let _host = world.start(&[]);
    let is_over = AtomicBool::new(false);
    let (folder, link) = (world.path("rw/sub"), world.path("rw/link"));
    let (answer, swaps) = thread::scope(|scope| {
        let swapping = scope.spawn(|| {
            let mut swaps = 0;
            while !is_over.load(Relaxed) {
                renameat_with(CWD, &folder, CWD, &link, RenameFlags::EXCHANGE).unwrap();
                swaps += 1;
            }
            swaps
        });
        let answer = peek.knock().text();
        is_over.store(true, Relaxed);
        (answer, swapping.join().unwrap())
    });
    eprintln!("{answer} in {swaps} swaps");
    assert!(answer.starts_with("own ") && swaps > 100, "{answer}");
    assert!(!answer.contains("own 0") && !answer.contains("refused 0"), "{answer}");
}
