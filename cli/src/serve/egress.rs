//! `wasm-sock-egress` for a host that no service manager has given one.

use crate::{CommandError, host_program};
use rustix::process::{Signal, getpid, set_parent_process_death_signal};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};
use wasm_sock_config::{HandlerConfig, StoreAddress};
pub use wasm_sock_egress_protocol::VARIABLE;

/// How long it may take to listen, and how often that is looked at.
const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// Do guests of this handler reach out, so that its host needs the program?
pub fn is_needed(handler: &HandlerConfig) -> bool {
    let is_server = |address: &StoreAddress| !matches!(address, StoreAddress::Embedded);
    !handler.allow_outbound.is_empty() || handler.keyvalue.iter().any(|store| is_server(&store.at))
}

/// Starts it with a socket in `folder`, and returns the path of that. It is killed when this process ends, which becomes the host. If it
/// ends before, the host does, too, once its connections have ended.
///
/// # Errors
/// When it cannot be started, or does not listen.
pub fn start(config: Option<&Path>, folder: &Path) -> Result<PathBuf, CommandError> {
    let program = host_program::sibling("wasm-sock-egress")?;
    let socket = folder.join(format!("wasm-sock-egress.{}", getpid().as_raw_nonzero()));
    let mut command = Command::new(&program);
    command
        .arg("--listen")
        .arg(&socket)
        .args(["--idle-timeout", "infinity"]);
    command.args(config.into_iter().flat_map(|file| [Path::new("--config"), file]));
    // SAFETY: prctl(2) is all that is called between fork and exec.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    let mut child = command
        .spawn()
        .map_err(|error| host_program::cannot_run(&program, &error))?;
    let begin = Instant::now();
    let listens = || socket.metadata().is_ok_and(|metadata| metadata.file_type().is_socket());
    while !listens() {
        let has_ended = child.try_wait()?.is_some();
        if has_ended || begin.elapsed() > PATIENCE {
            let why = format!("{} does not listen at {}", program.display(), socket.display());
            return Err(CommandError::Failed(why));
        }
        thread::sleep(PAUSE);
    }
    Ok(socket)
}
