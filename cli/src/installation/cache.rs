//! The host's cache of compiled modules: what it keeps of a module goes with the module.

use super::record::{Installed, digest};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Deletes the cache's entries that were made from these files: artifacts, which are named after the digest of their
/// `.wasm`, their links, and copies of a `.cwasm`. Errors are ignored: the host may delete entries itself, and an
/// entry that stays is only some room on the disk.
pub fn forget(cache: &Path, files: &[Installed]) {
    // It belongs to the services' user, who could replace it with a link to another folder while files are compared.
    // Through the descriptor, it stays this one.
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    let Ok(folder) = File::options().read(true).custom_flags(flags).open(cache) else {
        return;
    };
    let cache = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd()));
    let entries: Vec<PathBuf> = fs::read_dir(cache)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    let named_after = |entry: &&PathBuf| {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        files.iter().any(|file| name.starts_with(&format!("{}-", file.sha256)))
    };
    let identity = |path: &PathBuf| fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let artifacts: BTreeSet<(u64, u64)> = entries.iter().filter(named_after).filter_map(identity).collect();
    let is_copy = |entry: &PathBuf| {
        let size = fs::metadata(entry).map(|entry| entry.len());
        size.is_ok_and(|size| files.iter().any(|file| file.size == size))
            && digest(entry).is_ok_and(|digest| files.iter().any(|file| file.sha256 == digest))
    };
    for entry in &entries {
        if identity(entry).is_some_and(|identity| artifacts.contains(&identity)) || is_copy(entry) {
            let _ = fs::remove_file(entry);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_made_from_a_module_goes_and_the_rest_stays() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::write(at("hello.wasm"), "source").unwrap();
        fs::write(at("hello.cwasm"), "native").unwrap();
        let files = ["hello.wasm", "hello.cwasm"].map(|name| Installed::from(&at(name), &at(name)).unwrap());
        let cache = at("cache");
        fs::create_dir(&cache).unwrap();
        let entry = cache.join(format!("{}-engine.cwasm", files[0].sha256));
        fs::write(&entry, "compiled").unwrap();
        fs::hard_link(&entry, cache.join("0123456789abcdef-1.cwasm")).unwrap();
        fs::write(cache.join("fedcba9876543210-1.cwasm"), "native").unwrap();
        fs::write(cache.join("fedcba9876543210-2.cwasm"), "others").unwrap();
        forget(&cache, &files);
        let left: Vec<_> = fs::read_dir(&cache)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(left, ["fedcba9876543210-2.cwasm"]);
    }
}
