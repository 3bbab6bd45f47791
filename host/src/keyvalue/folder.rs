//! The folder of a handler, in which its embedded stores are.

use crate::config::{Environment, HandlerConfig};
use crate::journal::{self, Level};
use crate::sandbox::Needs;
use rustix::fs::stat;
use rustix::process::geteuid;
use std::path::{Path, PathBuf};
use wasm_sock_store::{file_of, make_folder};

/// The directory of what is kept (`StateDirectory=` of the service, systemd.exec(5)). `None`: a user without a home.
fn directory() -> Option<PathBuf> {
    Environment::current(geteuid().is_root()).state_directory()
}

/// The file of a handler. What root makes in a folder of another user, the service of that user could not write: a host
/// that root has started (`wasm-sock exec`) leaves it alone.
///
/// # Errors
/// Why it cannot be used, and what to do.
pub fn usable_file(handler: &str) -> Result<PathBuf, String> {
    let state = directory().ok_or("there is no $STATE_DIRECTORY (set StateDirectory= in the service)")?;
    if let Some(owner) = other_owner(&state) {
        let state = state.display();
        return Err(format!(
            "{state} belongs to user {owner}, and this host runs as root (start the handler's service instead)"
        ));
    }
    Ok(file_of(&state, handler))
}

/// The user that a folder belongs to, if this is root and it is another user's.
fn other_owner(folder: &Path) -> Option<u32> {
    let owner = stat(folder).ok()?.st_uid;
    (geteuid().is_root() && owner != 0).then_some(owner)
}

/// Adds the folder of a handler's embedded stores to what the sandbox has to allow.
pub fn add_needs(handler: &str, config: &HandlerConfig, needs: &mut Needs) {
    if config.has_embedded_store()
        && let Some(state) = directory()
    {
        needs.add_state(state.join(handler));
    }
}

/// Makes the folders of embedded stores, before the sandbox, which cannot allow what is not there. A failure is logged.
pub fn make_folders(needs: &Needs) {
    for folder in &needs.state {
        // See `usable_file`: nothing is made for another user.
        if folder.parent().and_then(other_owner).is_some() {
            continue;
        }
        if let Err(error) = make_folder(folder) {
            let folder = folder.display();
            let message = format_args!("keyvalue: {folder}: {error} (see StateDirectory= in the service)");
            journal::log(Level::Error, message);
        }
    }
}
