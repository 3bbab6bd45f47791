//! What the host itself may touch: the wall behind the guests' own.
//!
//! WebAssembly keeps a guest in. Whoever finds a hole in that is this process, and the kernel lets it do
//! what its handlers were granted and nothing else: Landlock for files and ports, a filter for system
//! calls. Both are put up after the configuration was read and the sockets were taken, before a guest runs;
//! they cannot be taken down.

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
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::Notify;

pub use needs::{Needs, RESOLVER, Use};

/// Has this process confined itself?
static CONFINED: AtomicBool = AtomicBool::new(false);

/// Told when something was refused that would be granted now.
static OUTDATED: Notify = Notify::const_new();

/// Confines this process, which must have one thread, to what it needs. Returns what the kernel cannot do
/// of it.
pub fn enter(needs: &Needs) -> Vec<String> {
    #[cfg(debug_assertions)]
    if attempt::without_sandbox() {
        return Vec::new();
    }
    let mut missing = Vec::new();
    // Secrets of handlers are in memory: it is written to no core file, and read by no other process
    // of this user.
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
    missing.extend(seccomp::restrict(needs).err());
    #[cfg(debug_assertions)]
    missing.extend(attempt::missing());
    CONFINED.store(true, Relaxed);
    missing
}

/// Was it the sandbox that refused to open `path` or to run it, and not the file's own permissions?
///
/// Then the file, or its folder, was not there or was another one when the host confined itself, and
/// what was granted was that. [`outdated`] hears of it.
pub fn refuses(path: &Path, error: &io::Error) -> bool {
    // access(2) is not Landlock's.
    let refused = CONFINED.load(Relaxed)
        && error.kind() == ErrorKind::PermissionDenied
        && access(path, Access::READ_OK).is_ok();
    if refused {
        leave_soon();
    }
    refused
}

/// Lets [`outdated`] hear that this host cannot do what the next one can.
pub fn leave_soon() {
    OUTDATED.notify_one();
}

/// Waits until this host cannot do what the next one can: see [`refuses`].
pub async fn outdated() {
    OUTDATED.notified().await;
}

/// What is said of a file that [`refuses`] is about.
pub const OUTDATED_REASON: &str = "it came, or was replaced, after this host had confined itself to what was there: it leaves, and the next one may use it";
