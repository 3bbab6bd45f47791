//! Works as the user that the stores belong to. Files that root made, the service could not write; and in a folder of
//! another user, root could be led anywhere by symbolic links.

use crate::CommandError;
use crate::scope::Scope;
use rustix::fs::stat;
use rustix::process::geteuid;
use std::io;
use std::path::{Path, PathBuf};

/// The folder with the state of handlers. If this is root and it belongs to another user, the process becomes that
/// user, for good.
pub fn become_owner(scope: Scope) -> Result<PathBuf, CommandError> {
    let state = scope.environment().state_directory();
    let state = state.ok_or_else(|| CommandError::Failed("kv: there is no home directory (set $HOME)".to_owned()))?;
    let state = existing(scope, state);
    if geteuid().is_root()
        && let Ok(owner) = stat(&state)
        && owner.st_uid != 0
    {
        become_user(owner.st_uid, owner.st_gid).map_err(|error| {
            CommandError::Failed(format!("kv: cannot become the owner of {}: {error}", state.display()))
        })?;
    }
    Ok(state)
}

/// Before systemd 254, a user's manager had state directories below `$XDG_CONFIG_HOME`.
fn existing(scope: Scope, state: PathBuf) -> PathBuf {
    if !scope.is_user() || state.exists() {
        return state;
    }
    let file = scope.environment().main_file();
    let former = file.and_then(|file| Some(file.parent()?.join("state")));
    former.filter(|former| former.exists()).unwrap_or(state)
}

fn become_user(user: u32, group: u32) -> io::Result<()> {
    // SAFETY: numbers only; no group is read from the null pointer, because there are none.
    let results = unsafe {
        [
            libc::setgroups(0, std::ptr::null()),
            libc::setresgid(group, group, group),
            libc::setresuid(user, user, user),
        ]
    };
    match results {
        [0, 0, 0] => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Tells "not there" from "not to be seen by this user".
pub fn explain_missing(file: &Path) -> Result<(), CommandError> {
    match std::fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            let file = file.display();
            Err(CommandError::Failed(format!("kv: {file}: {error}{}", hint(&error))))
        }
        _ => Ok(()),
    }
}

/// What to do about an error.
pub fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => " (try sudo; or --user for your own services)",
        _ => "",
    }
}
