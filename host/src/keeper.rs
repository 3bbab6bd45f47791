//! The keeper of this host (`when-idle = "park"`): `wasm-sock-keeper`, which holds the sockets while no host runs, and
//! which the process that the service manager has started becomes.

use crate::siblings::{KEEPER, cannot_run};
use rustix::io::{FdFlags, fcntl_setfd};
use std::env;
use std::ffi::OsString;
use std::os::fd::{AsFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use wasm_sock_keeper::{AWAKE_SINCE, NOTIFY};

pub use wasm_sock_keeper::{KEEP_NO_MORE, NOTHING_ACCEPTED};

static SINCE: LazyLock<Option<String>> =
    LazyLock::new(|| env::var(AWAKE_SINCE).ok().filter(|since| !since.is_empty()));

/// Since when this host is awake, in words. `None`: no keeper has started it.
pub fn awake_since() -> Option<&'static str> {
    SINCE.as_deref()
}

/// Has a keeper started this host?
pub fn is_kept() -> bool {
    SINCE.is_some()
}

/// Where this host writes what the service manager is to be told, if a keeper has started it: the manager listens to its
/// main process only.
pub fn notify_socket() -> Option<UnixDatagram> {
    let number: RawFd = env::var(NOTIFY).ok().filter(|_| is_kept())?.parse().ok()?;
    // SAFETY: the keeper has opened it for this process, and nothing else here knows of it. It is asked for once.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    // Programs that this one executes need it not. An error means that there is no such descriptor.
    fcntl_setfd(&socket, FdFlags::CLOEXEC).ok()?;
    Some(socket.into())
}

/// Becomes the keeper of these sockets, which starts hosts with the arguments of this one (`execve(2)`). `count`: how many
/// descriptors were passed, also if not all are sockets.
///
/// # Errors
/// This process goes on, because the keeper is missing or cannot be run: the message.
pub fn become_keeper<S: AsFd>(count: usize, sockets: impl Iterator<Item = S>) -> String {
    let keeper = match KEEPER.find() {
        Ok(keeper) => keeper,
        Err(error) => return error,
    };
    for socket in sockets {
        // It fails for no open descriptor.
        let _ = fcntl_setfd(socket, FdFlags::empty());
    }
    let mut arguments = env::args_os();
    let host = path(arguments.next());
    let mut command = Command::new(&keeper);
    command
        .arg0(KEEPER.name)
        .arg(host)
        .args(arguments)
        .env(AWAKE_SINCE, "")
        .env(NOTIFY, "");
    // Taken from the environment when this process has received them. Its number stays the same.
    command.env("LISTEN_FDS", count.to_string());
    command.env("LISTEN_PID", std::process::id().to_string());
    // Of the process that the manager has started (`sd_listen_fds(3)` of systemd 258), as hosts are not.
    command.env_remove("LISTEN_PIDFDID");
    cannot_run(&keeper, &command.exec())
}

/// The path by which the next host is found, also after an upgrade: the name that this one was started by, which may be
/// a link; not what the link leads to today.
fn path(started_as: Option<OsString>) -> PathBuf {
    let named = started_as.map(PathBuf::from).filter(|path| path.is_absolute());
    named.unwrap_or_else(|| env::current_exe().unwrap_or_else(|_| Path::new("/proc/self/exe").to_owned()))
}
