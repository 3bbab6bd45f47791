//! `wasm-sock-egress` for a run whose guest reaches out.

use crate::activate::Activation;
use crate::{CommandError, host_program};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};
use rustix::process::{Signal, set_parent_process_death_signal};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use wasm_sock_config::{Config, Environment};
use wasm_sock_egress_protocol::VARIABLE;

/// How long it may take to listen.
const PATIENCE: Duration = Duration::from_secs(10);

/// It runs as long as this value lives.
pub struct Egress {
    child: Child,
    socket: PathBuf,
}

impl Egress {
    /// Starts it in `folder`, if the configuration has a handler whose guests reach out.
    ///
    /// # Errors
    /// When it cannot be run, or does not listen.
    pub fn start(config: &Path, folder: &Path) -> Result<Option<Self>, CommandError> {
        let environment = Environment {
            user_manager: true,
            variable: &|_| None,
        };
        let loaded = Config::load(Some(config), &environment).map_err(CommandError::Configuration)?;
        if !loaded.handlers.values().any(|handler| handler.reaches_out()) {
            return Ok(None);
        }
        let (program, socket) = (host_program::sibling("wasm-sock-egress")?, folder.join("egress"));
        let mut command = Command::new(&program);
        command.arg("--config").arg(config).arg("--listen").arg(&socket);
        command.args(["--idle-timeout", "infinity"]).env_remove("LISTEN_FDS");
        // Ctrl-C is for the host, which still needs it while it drains.
        command.stdin(Stdio::null()).process_group(0);
        let die_with_parent = || Ok(set_parent_process_death_signal(Some(Signal::TERM))?);
        // SAFETY: prctl(2) is a system call only.
        unsafe { command.pre_exec(die_with_parent) };
        let child = command
            .spawn()
            .map_err(|error| host_program::cannot_run(&program, &error))?;
        let mut egress = Self { child, socket };
        egress.wait()?;
        Ok(Some(egress))
    }

    /// Has a host find it.
    pub fn tell(egress: Option<&Self>, host: &mut Activation) {
        if let Some(egress) = egress {
            host.command().env(VARIABLE, &egress.socket);
        }
    }

    fn wait(&mut self) -> Result<(), CommandError> {
        let began = Instant::now();
        while !self.listens()? {
            if let Some(status) = self.child.try_wait()? {
                return Err(CommandError::Failed(format!(
                    "wasm-sock-egress has ended ({status}; see above)"
                )));
            }
            if began.elapsed() > PATIENCE {
                return Err(CommandError::Failed("wasm-sock-egress does not listen".to_owned()));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn listens(&self) -> io::Result<bool> {
        let host = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None)?;
        Ok(connect(&host, &SocketAddrUnix::new(self.socket.as_path())?).is_ok())
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
