//! `wasm-sock-egress` for a host that no service manager has given one.

use crate::{CommandError, activate, host_program};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

pub use wasm_sock_egress_protocol::VARIABLE;

/// How long it may take to listen, and how often that is looked at.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(2);

/// Starts it with a socket at `path`, for the handlers in the file `config`, or in the one that is found. It is killed
/// when this process ends, also if that has become the host meanwhile.
///
/// # Errors
/// When it cannot be run, or does not listen.
pub fn start(config: Option<&Path>, path: &Path) -> Result<Child, CommandError> {
    let program = host_program::sibling("wasm-sock-egress")?;
    let mut command = Command::new(&program);
    command.arg("--listen").arg(path).args(["--idle-timeout", "infinity"]);
    command.args(config.into_iter().flat_map(|file| [Path::new("--config"), file]));
    // Sockets that were passed are the host's.
    command.stdin(Stdio::null()).env_remove("LISTEN_FDS");
    // Ctrl-C is for the host, which still needs it while it drains.
    command.process_group(0);
    let passed = activate::FIRST..activate::FIRST + activate::passed_sockets();
    let prepare = move || {
        for descriptor in passed.clone() {
            // SAFETY: it is looked at for this call only, and one that is not open is an error.
            let descriptor = unsafe { BorrowedFd::borrow_raw(descriptor) };
            fcntl_setfd(descriptor, FdFlags::CLOEXEC)?;
        }
        Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
    };
    // SAFETY: fcntl(2) and prctl(2) are all that is called between fork and exec.
    unsafe { command.pre_exec(prepare) };
    let mut child = command
        .spawn()
        .map_err(|error| host_program::cannot_run(&program, &error))?;
    let began = Instant::now();
    while !is_listening(path)? {
        if let Some(status) = child.try_wait()? {
            return Err(CommandError::Failed(format!(
                "wasm-sock-egress has ended ({status}; see above)"
            )));
        }
        if began.elapsed() > PATIENCE {
            let why = format!("{} does not listen at {}", program.display(), path.display());
            return Err(CommandError::Failed(why));
        }
        thread::sleep(PAUSE);
    }
    Ok(child)
}

fn is_listening(path: &Path) -> io::Result<bool> {
    let host = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
    Ok(connect(&host, &SocketAddrUnix::new(path)?).is_ok())
}
