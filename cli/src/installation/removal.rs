//! The removal of a handler that was installed. Once begun it is finished, and not taken back.

use super::record::{Installed, Record, digest};
use super::scope::Places;
use super::store::Store;
use super::systemd::Manager;
use super::{cache, durable};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Removes what the record of a handler names, and returns what stays, a line each. May be repeated.
///
/// # Errors
/// What could not be removed; the next command tries again.
pub fn finish(store: &Store, handler: &str, is_purge: bool, manager: &dyn Manager) -> Result<Vec<String>, String> {
    let Some(record) = store.removed_record(handler, is_purge)? else {
        return Ok(Vec::new());
    };
    // First its sockets, or a client would start the service again.
    manager.stop(&record.units)?;
    manager.stop(&record.services)?;
    manager.clean(&record.units);
    cache::forget(&store.places.cache, &record.files);
    let mut stays = Vec::new();
    for file in &record.files {
        let failed = |error: io::Error| format!("{}: {error}", file.path.display());
        stays.extend(remove_file(&record, file, is_purge).map_err(failed)?);
    }
    manager.daemon_reload()?;
    manager.reset_failed(&record.units);
    manager.reset_failed(&record.services);
    let state = store.places.state.join("state").join(handler);
    match is_purge {
        true if state.exists() => {
            durable::remove_tree(&state).map_err(|error| format!("{}: {error}", state.display()))?;
        }
        false if state.exists() => {
            stays.push(format!("{}: the handler's state (--purge removes it)", state.display()));
        }
        _ => {}
    }
    forget_counters(&store.places, handler)?;
    store.lock.remove_at_end(&record.folders);
    store.end_removal(handler, is_purge)?;
    Ok(stays)
}

/// Removes a file as it was installed. One that people have changed stays: settings under another name, because they
/// are a service under this one.
fn remove_file(record: &Record, file: &Installed, is_purge: bool) -> io::Result<Option<String>> {
    let path = &file.path;
    let is_settings = *path == record.settings;
    let is_ours = match digest(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        digest => digest? == file.sha256,
    };
    match (is_ours, is_settings) {
        (true, false) => {}
        (true, true) if !record.is_adopted => {}
        (_, true) if is_purge => {}
        (_, true) => {
            let kept = kept_name(path);
            durable::rename(path, &kept)?;
            let why = "people wrote in it (--purge removes it)";
            return Ok(Some(format!("{}: the settings: {why}", kept.display())));
        }
        (false, false) => {
            return Ok(Some(format!(
                "{}: it is not the one that was installed",
                path.display()
            )));
        }
    }
    durable::remove_if_there(path)?;
    durable::sync_folder(path.parent().unwrap_or(path))?;
    Ok(None)
}

/// The name under which settings stay. `handlers.d` is read for `*.toml` only.
fn kept_name(settings: &Path) -> PathBuf {
    let name = settings.file_name().unwrap_or_default().to_string_lossy();
    settings.with_file_name(format!("{name}.old"))
}

/// Removes the counters that the hosts of a handler have left.
///
/// # Errors
/// Those of the file system.
pub fn forget_counters(places: &Places, handler: &str) -> Result<(), String> {
    let folder = places.runtime.join("stats");
    let failed = |error: io::Error| format!("{}: {error}", folder.join(handler).display());
    // As the cache's: the folder belongs to the services' user.
    let flags = libc::O_DIRECTORY | libc::O_NOFOLLOW;
    match File::options().read(true).custom_flags(flags).open(&folder) {
        Ok(opened) => {
            let counters = format!("/proc/self/fd/{}/{handler}", opened.as_raw_fd());
            durable::remove_if_there(Path::new(&counters)).map_err(failed)?;
            Ok(())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
