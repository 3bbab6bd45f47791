//! WASI for one guest: what it may touch besides its connection.

use super::budget::Refused;
use super::environment::Who;
use super::handles::{self, Opened};
use super::log::Lines;
use super::outbound::Reach;
use super::stdio::{Stdin, Stdio, Stdout};
use crate::config::{Access, DirGrant};
use crate::sandbox::{self, OUTDATED_REASON};
use std::path::PathBuf;
use std::sync::Arc;
use thiserror::Error;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::p1::WasiP1Ctx;
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiView};

/// The most random bytes that a component may ask for at once: they are made while others wait.
const MOST_RANDOM: u64 = 1 << 20;

/// The WASI context of a guest. It is made when the guest first needs it: a core module that only
/// reads and writes its connection never does.
pub struct Context {
    pub who: Arc<Who>,
    stdio: Option<Stdio>,
    made: Option<Box<Made>>,
    /// Are a core module's descriptors 0 and 1 not to wait (`O_NONBLOCK`)?
    pub nonblocking: [bool; 2],
    /// The request that it answers is HEAD.
    pub answers_head: bool,
    /// What a component has opened.
    pub opened: Opened,
}

struct Made {
    /// Serves all worlds: a component sees the context in it, a core module all of it.
    wasi: WasiP1Ctx,
    /// Whom it may connect to.
    reach: Arc<Reach>,
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
    #[error("cannot open {} that it was granted as {guest}: {OUTDATED_REASON}", host.display())]
    Outdated { host: PathBuf, guest: String },
    #[error(transparent)]
    Refused(#[from] Refused),
}

impl Context {
    /// The context of a guest that works for `who`. One without `stdio` has nothing to read; what it
    /// prints is logged.
    ///
    /// # Errors
    /// When a granted directory cannot be opened.
    pub fn new(who: Arc<Who>, stdio: Option<Stdio>) -> Result<Self, StateError> {
        let made = match who.config.dirs.is_empty() {
            true => None,
            false => {
                let mut builder = WasiCtx::builder();
                for dir in &who.config.dirs {
                    grant(&mut builder, dir)?;
                }
                Some(make(builder, &who, stdio.as_ref()))
            }
        };
        let opened = Opened::default();
        Ok(Self {
            who,
            stdio,
            made,
            nonblocking: [false; 2],
            answers_head: false,
            opened,
        })
    }

    pub fn wasi(&mut self) -> &mut WasiP1Ctx {
        &mut self.made().wasi
    }

    pub fn reach(&mut self) -> Arc<Reach> {
        self.made().reach.clone()
    }

    /// The handles of the guest; `None` as long as it has none.
    pub fn handles(&mut self) -> Option<&mut ResourceTable> {
        Some(self.made.as_mut()?.wasi.ctx().table)
    }

    fn made(&mut self) -> &mut Made {
        let make = || make(WasiCtx::builder(), &self.who, self.stdio.as_ref());
        self.made.get_or_insert_with(make)
    }
}

fn make(mut builder: WasiCtxBuilder, who: &Arc<Who>, stdio: Option<&Stdio>) -> Box<Made> {
    let log = Lines::new(who.clone());
    match stdio {
        Some(stdio) => builder.stdin(Stdin(stdio.clone())).stdout(Stdout(stdio.clone())),
        None => builder.stdout(log.clone()),
    };
    let reach = Reach::new(who.clone());
    reach.allow(&mut builder);
    builder.stderr(log).max_random_size(MOST_RANDOM);
    let mut wasi = builder.build_p1();
    wasi.ctx().table.set_max_capacity(handles::MOST);
    Box::new(Made { wasi, reach })
}

fn grant(builder: &mut WasiCtxBuilder, dir: &DirGrant) -> Result<(), StateError> {
    let perms = match dir.access {
        Access::ReadOnly => FsPerms::ReadOnly,
        Access::ReadWrite => FsPerms::ReadWrite,
    };
    builder
        .preopened_dir(&dir.host, &dir.guest, perms)
        .map(|_| ())
        .map_err(|error| unavailable(dir, &error))
}

/// Why a granted directory cannot be opened.
fn unavailable(dir: &DirGrant, error: &wasmtime::Error) -> StateError {
    let (host, guest) = (dir.host.clone(), dir.guest.clone());
    match error.downcast_ref() {
        Some(error) if sandbox::refuses(&host, error) => StateError::Outdated { host, guest },
        _ => StateError::Directory {
            host,
            guest,
            reason: format!("{error:#}"),
        },
    }
}
