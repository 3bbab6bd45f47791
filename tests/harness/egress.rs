//! `wasm-sock-egress`, for worlds whose guests reach out.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketType, connect, socket};

use crate::{Log, PATIENCE, host};

/// Where it listens, below a world's folder. Hosts look for it there, whether it runs or not.
pub(crate) const SOCKET: &str = "run/egress";

/// A running `wasm-sock-egress`, which ends with the test.
pub struct Egress {
    socket: PathBuf,
    child: Child,
    /// What it has logged.
    pub log: Arc<Log>,
}

impl Egress {
    /// Starts it with the configuration of a world, and waits until it listens.
    pub(crate) fn start(folder: &Path, program: &Path) -> Self {
        let path = folder.join(SOCKET);
        let _ = fs::remove_file(&path);
        let mut child = Command::new(program)
            .arg("--listen")
            .arg(&path)
            .env_clear()
            .env("CONFIGURATION_DIRECTORY", folder.join("config"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("start wasm-sock-egress");
        let log = Log::new();
        let (stderr, collected) = (child.stderr.take().expect("piped"), log.clone());
        thread::spawn(move || host::collect_lines(stderr, &collected));
        let began = Instant::now();
        while !is_listening(&path) {
            let lines = log.text();
            assert!(began.elapsed() < PATIENCE, "wasm-sock-egress does not listen: {lines}");
            thread::sleep(Duration::from_millis(1));
        }
        Self {
            socket: path,
            child,
            log,
        }
    }

    /// The ID of its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it (SIGKILL), and removes its socket.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.socket);
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        self.end();
    }
}

fn is_listening(path: &Path) -> bool {
    let host = socket(AddressFamily::UNIX, SocketType::SEQPACKET, None).expect("make a socket");
    let address = SocketAddrUnix::new(path).expect("a short path");
    connect(&host, &address).is_ok()
}
