//! The sandbox of the host process (defence in depth): Landlock and seccomp.
//!
//! WebAssembly confines a guest. An attacker that escapes from it controls this process, but the kernel allows the
//! process only what its handlers need: Landlock restricts files and ports, seccomp restricts system calls. Both are
//! enabled after the configuration was read and the sockets were taken over, before a guest runs; they cannot be
//! disabled.

#[cfg(debug_assertions)]
pub mod attempt;
mod landlock;
mod needs;
mod report;
mod seccomp;

use rustix::fs::{Access, access};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use rustix::thread::set_no_new_privs;
use std::io::{self, ErrorKind};
use std::os::fd::RawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::Notify;

pub use needs::{Needs, Use};

/// Has this process entered its sandbox?
static CONFINED: AtomicBool = AtomicBool::new(false);

/// Notified when the sandbox refused something that a new host could access.
static OUTDATED: Notify = Notify::const_new();

/// Confines this process, which must have one thread, to what it needs. Returns the restrictions that the kernel does
/// not support. `egress` is the descriptor that may be connected.
pub fn enter(needs: &Needs, egress: Option<RawFd>) -> Vec<String> {
    #[cfg(debug_assertions)]
    if attempt::without_sandbox() {
        return Vec::new();
    }
    let mut missing = Vec::new();
    // Memory holds secrets of handlers: no core dumps, and no access by other processes of this user (ptrace(2)).
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let private = setrlimit(Resource::Core, none).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = private {
        missing.push(format!("memory may be dumped ({error})"));
    }
    if let Err(error) = set_no_new_privs(true) {
        missing.push(format!("programs may gain privileges ({error})"));
    }
    missing.extend(landlock::restrict(needs));
    missing.extend(seccomp::restrict(needs, egress).err());
    #[cfg(debug_assertions)]
    missing.extend(attempt::missing());
    CONFINED.store(true, Relaxed);
    missing
}

/// Was it the sandbox that refused to open or to execute `path`, and not the file's own permissions?
///
/// Then the file, or its folder, was created or replaced after the host had entered its sandbox. Notifies
/// [`outdated`].
pub fn refuses(path: &Path, error: &io::Error) -> bool {
    // Landlock does not restrict access(2).
    let refused = CONFINED.load(Relaxed)
        && error.kind() == ErrorKind::PermissionDenied
        && access(path, Access::READ_OK).is_ok();
    if refused {
        leave_soon();
    }
    refused
}

/// Notifies [`outdated`].
pub fn leave_soon() {
    OUTDATED.notify_one();
}

/// Waits until the sandbox has refused something that a new host could access: see [`refuses`].
pub async fn outdated() {
    OUTDATED.notified().await;
}

/// The message about such a file.
pub const OUTDATED_REASON: &str =
    "it was created or replaced after this host had entered its sandbox: the host exits, and the next one may use it";
