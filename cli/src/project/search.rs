//! Finding the module that a build has left somewhere in a folder.

use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The result of a search.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    None,
    One(PathBuf),
    /// It is not clear which one is meant.
    Several(Vec<PathBuf>),
}

/// How deep below the folder of a project a build leaves its module.
const DEPTH: usize = 6;

/// The module in `folder`. If there are several, the only one that was written since `began`.
pub fn modules(folder: &Path, began: SystemTime) -> Found {
    let mut modules = Vec::new();
    collect(folder, DEPTH, &mut modules);
    if modules.len() > 1 {
        let is_new = |module: &PathBuf| {
            let modified = fs::metadata(module).and_then(|metadata| metadata.modified());
            modified.is_ok_and(|modified| modified >= began)
        };
        let new: Vec<PathBuf> = modules.iter().filter(|module| is_new(module)).cloned().collect();
        if !new.is_empty() {
            modules = new;
        }
    }
    match modules.len() {
        0 => Found::None,
        1 => Found::One(modules.remove(0)),
        _ => Found::Several(modules),
    }
}

/// Folders of tools and of intermediate files.
const SKIPPED: [&str; 5] = ["node_modules", "deps", "incremental", "__pycache__", "venv"];

fn collect(folder: &Path, depth: usize, modules: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_hidden = name.as_encoded_bytes().starts_with(b".");
        match entry.file_type() {
            // Not through symbolic links: they can be circular, and lead out of the project.
            Ok(kind) if kind.is_dir() && depth > 0 && !is_hidden && !is_skipped(&entry) => {
                collect(&entry.path(), depth - 1, modules);
            }
            Ok(kind) if kind.is_file() && !is_hidden => {
                let path = entry.path();
                modules.extend((path.extension() == Some(OsStr::new("wasm"))).then_some(path));
            }
            _ => {}
        }
    }
}

/// Is it a folder of tools? Python's environments have any name, and are known by a file.
fn is_skipped(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    SKIPPED.iter().any(|skipped| name == *skipped) || entry.path().join("pyvenv.cfg").exists()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn the_module_that_was_built_is_found_and_those_of_tools_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let before = SystemTime::now() - Duration::from_secs(60);
        assert_eq!(modules(folder.path(), before), Found::None);
        for name in ["node_modules/asc", "tools/lib", "build/out"] {
            fs::create_dir_all(path(name)).unwrap();
            fs::write(path(name).join("a.wasm"), "").unwrap();
        }
        fs::write(path("tools/pyvenv.cfg"), "").unwrap();
        assert_eq!(modules(folder.path(), before), Found::One(path("build/out/a.wasm")));
    }

    #[test]
    fn of_several_modules_the_new_one_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let [old, new] = ["old.wasm", "new.wasm"].map(|name| folder.path().join(name));
        let began = SystemTime::now() - Duration::from_secs(60);
        fs::write(&new, "").unwrap();
        fs::write(&old, "").unwrap();
        let Found::Several(both) = modules(folder.path(), began) else {
            panic!("both are new");
        };
        assert_eq!(both.len(), 2);
        let file = fs::File::options().write(true).open(&old).unwrap();
        file.set_modified(began - Duration::from_secs(1)).unwrap();
        assert_eq!(modules(folder.path(), began), Found::One(new));
    }
}
