//! What the host keeps for one running guest: all that the guest can touch.

use super::budget::Budget;
use super::log::Stderr;
use super::outbound;
use super::stdio::{Connection, Stdin, Stdout};
use crate::config::{Access, HandlerConfig};
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};

/// The most random bytes that a component may ask for at once: they are made while others wait.
const MOST_RANDOM: u64 = 1 << 20;

/// The most files, streams and so on that a guest may have at a time. Each may be a descriptor, and
/// the process has only so many.
const MOST_RESOURCES: usize = 256;

/// The state of one guest.
pub struct State {
    /// Serves both worlds: a component sees the context in it, a core module all of it.
    pub wasi: WasiP1Ctx,
    pub budget: Budget,
    pub connection: Arc<Connection>,
    /// A core module's descriptors 0 and 1 are still what they were at its start.
    pub stdio_in_place: bool,
}

/// Why a guest cannot be given what its handler was granted.
#[derive(Debug, Error)]
pub enum StateError {
    #[error("cannot open {} that it was granted as {guest}: {reason} (does it exist, and may the user of the service read it?)", host.display())]
    Directory {
        host: PathBuf,
        guest: String,
        reason: String,
    },
}

impl State {
    /// The state for a guest of the handler `name` that serves `connection`. `peer` names the other
    /// end in logs, `environment` tells the guest about it.
    ///
    /// # Errors
    /// When a granted directory cannot be opened.
    pub fn new(
        name: &Arc<str>,
        config: &HandlerConfig,
        connection: Arc<Connection>,
        peer: Arc<str>,
        environment: Vec<(&'static str, String)>,
    ) -> Result<Self, StateError> {
        let mut wasi = WasiCtx::builder();
        wasi.stdin(Stdin(connection.clone()))
            .stdout(Stdout(connection.clone()))
            .stderr(Stderr::new(name.clone(), peer))
            .arg(name)
            .args(&config.args)
            .env("WASM_SOCK_NAME", name)
            .max_random_size(MOST_RANDOM);
        for (key, value) in environment {
            wasi.env(key, value);
        }
        wasi.envs(&config.env);
        for dir in &config.dirs {
            let perms = match dir.access {
                Access::ReadOnly => FsPerms::ReadOnly,
                Access::ReadWrite => FsPerms::ReadWrite,
            };
            wasi.preopened_dir(&dir.host, &dir.guest, perms)
                .map_err(|e| StateError::Directory {
                    host: dir.host.clone(),
                    guest: dir.guest.clone(),
                    reason: format!("{e:#}"),
                })?;
        }
        outbound::allow(&mut wasi, &config.allow_outbound);
        let mut wasi = wasi.build_p1();
        wasi.ctx().table.set_max_capacity(MOST_RESOURCES);
        Ok(Self {
            wasi,
            budget: Budget::new(config.limits.memory),
            connection,
            stdio_in_place: true,
        })
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi.ctx()
    }
}
