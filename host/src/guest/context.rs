//! WASI for one guest: what it may touch besides its connection.

use super::environment::Who;
use super::log::Lines;
use super::outbound;
use super::state::StateError;
use super::stdio::{Stdin, Stdio, Stdout};
use crate::config::{Access, DirGrant};
use std::sync::Arc;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiView};

/// The most random bytes that a component may ask for at once: they are made while others wait.
const MOST_RANDOM: u64 = 1 << 20;

/// The most files, streams and so on that a guest may have at a time. Each may be a descriptor, and
/// the process has only so many.
const MOST_RESOURCES: usize = 256;

/// The WASI context of a guest. It is made when the guest first needs it: a core module that only
/// reads and writes its connection never does.
pub struct Context {
    pub who: Arc<Who>,
    stdio: Option<Stdio>,
    /// Serves all worlds: a component sees the context in it, a core module all of it.
    wasi: Option<Box<WasiP1Ctx>>,
}

impl Context {
    /// The context of a guest that works for `who`. One without `stdio` has nothing to read; what it
    /// prints is logged.
    ///
    /// # Errors
    /// When a granted directory cannot be opened.
    pub fn new(who: Arc<Who>, stdio: Option<Stdio>) -> Result<Self, StateError> {
        let wasi = match who.config.dirs.is_empty() {
            true => None,
            false => {
                let mut builder = builder(&who, stdio.as_ref());
                for dir in &who.config.dirs {
                    grant(&mut builder, dir)?;
                }
                Some(finish(builder))
            }
        };
        Ok(Self { who, stdio, wasi })
    }

    pub fn wasi(&mut self) -> &mut WasiP1Ctx {
        let make = || finish(builder(&self.who, self.stdio.as_ref()));
        self.wasi.get_or_insert_with(make)
    }
}

fn builder(who: &Arc<Who>, stdio: Option<&Stdio>) -> WasiCtxBuilder {
    let mut builder = WasiCtx::builder();
    let log = Lines::new(who.clone());
    match stdio {
        Some(stdio) => builder
            .stdin(Stdin(stdio.clone()))
            .stdout(Stdout(stdio.clone())),
        None => builder.stdout(log.clone()),
    };
    builder.stderr(log).max_random_size(MOST_RANDOM);
    outbound::allow(&mut builder, &who.config.allow_outbound);
    builder
}

fn grant(builder: &mut WasiCtxBuilder, dir: &DirGrant) -> Result<(), StateError> {
    let perms = match dir.access {
        Access::ReadOnly => FsPerms::ReadOnly,
        Access::ReadWrite => FsPerms::ReadWrite,
    };
    builder
        .preopened_dir(&dir.host, &dir.guest, perms)
        .map(|_| ())
        .map_err(|e| StateError::Directory {
            host: dir.host.clone(),
            guest: dir.guest.clone(),
            reason: format!("{e:#}"),
        })
}

fn finish(mut builder: WasiCtxBuilder) -> Box<WasiP1Ctx> {
    let mut wasi = Box::new(builder.build_p1());
    wasi.ctx().table.set_max_capacity(MOST_RESOURCES);
    wasi
}
