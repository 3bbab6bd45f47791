//! A host whose guests may reach out, and `wasm-sock-egress`.

use crate::process::{Process, Program, spawn};
use crate::{Bench, PATIENCE, Result};
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

/// Starts `wasm-sock-egress`, to which the socket was not passed, and becomes the host when it listens.
const START: &str = "\
env -u LISTEN_PID -u LISTEN_FDS -u LISTEN_FDNAMES \
  \"$EGRESS\" --listen \"$WASM_SOCK_EGRESS\" --idle-timeout infinity 3<&- &
until [ -S \"$WASM_SOCK_EGRESS\" ]; do sleep 0.01; done
exec \"$@\"";

/// The configuration of one handler, and the folder that it is in.
pub struct WayOut<'a> {
    bench: &'a Bench,
    guest: &'a str,
    folder: PathBuf,
}

impl<'a> WayOut<'a> {
    /// For a guest of WASI 0.2; `settings` are lines of its handler. `name` is that of a new folder.
    pub fn new(bench: &'a Bench, name: &str, guest: &'a str, settings: &str) -> Result<Self> {
        let folder = bench.scratch.join(name);
        fs::create_dir_all(&folder)?;
        let module = bench.artifacts.path("p2", guest);
        let text = format!(
            "[handler.unknown]\nmodule = {module:?}\ntimeout = \"infinity\"\ncpu-time = \"infinity\"\n{settings}"
        );
        fs::write(folder.join("wasm-sock.toml"), text)?;
        Ok(Self { bench, guest, folder })
    }

    fn with_variables(&self, program: Program) -> Program {
        program
            .variable("WASM_SOCK_EGRESS", self.folder.join("egress"))
            .variable("CONFIGURATION_DIRECTORY", &self.folder)
            .variable("LISTEN_FDNAMES", "unknown")
            .variable("CACHE_DIRECTORY", self.bench.artifacts.cache())
    }

    /// The host alone, which ends when it is idle.
    pub fn host(&self) -> Program {
        self.with_variables(Program::new([self.bench.build.join("wasm-sock")]).arguments(["host"]))
    }

    /// The host with a `wasm-sock-egress` of its own, whose CPU time counts as the host's. Both stay.
    pub fn both(&self) -> Program {
        let program = Program::new(["/bin/sh", "-c", START, "sh"])
            .arguments([self.bench.build.join("wasm-sock")])
            .arguments(["host", "--idle-timeout", "infinity"])
            .variable("EGRESS", self.bench.build.join("wasm-sock-egress"));
        self.with_variables(program)
    }

    /// `wasm-sock-egress` alone, when it listens.
    pub fn egress(&self) -> Result<Process> {
        let socket = self.folder.join("egress");
        let program = Program::new([self.bench.build.join("wasm-sock-egress")])
            .arguments(["--listen"])
            .arguments([&socket])
            .arguments(["--idle-timeout", "infinity"]);
        let process = spawn(&self.with_variables(program))?;
        let give_up = Instant::now() + PATIENCE;
        while !socket.exists() {
            if !process.runs() || Instant::now() > give_up {
                return Err(format!("wasm-sock-egress does not listen, for {}", self.guest).into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(process)
    }
}
