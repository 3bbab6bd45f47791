//! A service with many handlers: as many modules, files of the configuration, and sockets.

use crate::activate::start_with;
use crate::process::{Process, Program};
use crate::{Bench, Result};
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use tempfile::TempDir;

pub struct Handlers {
    folder: TempDir,
    host: PathBuf,
}

/// A service that runs. Its files stay as long.
pub struct Service {
    pub process: Process,
    /// Of the sockets; the last one is the first handler's.
    pub addresses: Vec<SocketAddr>,
    _handlers: Handlers,
}

impl Service {
    /// The first handler's.
    pub fn address(&self) -> Result<SocketAddr> {
        Ok(*self.addresses.last().ok_or("no socket")?)
    }
}

fn name(index: usize) -> String {
    format!("h{index}")
}

impl Handlers {
    /// `count` handlers, each with a module and a file in `handlers.d` of its own; `settings` are lines of each.
    pub fn new(bench: &Bench, count: usize, world: &str, guest: &str, settings: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().tempdir_in(&bench.scratch)?;
        let modules = folder.path().join("modules");
        fs::create_dir(&modules)?;
        let tables = folder.path().join("handlers.d");
        fs::create_dir(&tables)?;
        let configuration = format!("[host]\nmodules = {modules:?}\nidle-timeout = \"infinity\"\n");
        fs::write(folder.path().join("wasm-sock.toml"), configuration)?;
        let module = fs::read(bench.artifacts.path(world, guest))?;
        for index in 0..count {
            let name = name(index);
            fs::write(modules.join(format!("{name}.cwasm")), &module)?;
            let table = format!("[handler.{name}]\nmodule = \"{name}.cwasm\"\n{settings}");
            fs::write(tables.join(format!("{name}.toml")), table)?;
        }
        Ok(Self {
            folder,
            host: bench.build.join("wasm-sock"),
        })
    }

    /// The host, for a socket of each of the first `sockets` handlers; the last of them is the first
    /// handler's.
    pub fn program(&self, sockets: usize) -> Program {
        let names: Vec<String> = (0..sockets).rev().map(name).collect();
        Program::new([&self.host])
            .arguments(["host", "--config"])
            .arguments([self.folder.path().join("wasm-sock.toml")])
            .variable("CACHE_DIRECTORY", self.folder.path().join("cache"))
            .variable("LISTEN_FDNAMES", names.join(":"))
    }

    /// Starts it.
    pub fn start(self, sockets: usize) -> Result<Service> {
        let mut listeners = Vec::new();
        let mut addresses = Vec::new();
        for _ in 0..sockets {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            addresses.push(listener.local_addr()?);
            listeners.push(OwnedFd::from(listener));
        }
        Ok(Service {
            process: start_with(&self.program(sockets), listeners)?,
            addresses,
            _handlers: self,
        })
    }
}
