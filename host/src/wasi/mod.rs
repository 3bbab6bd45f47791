//! WASI as guests get it: the interfaces that they import, one file each, and what the host keeps for a guest.
//!
//! A guest is linked to those interfaces only that it imports: registering all of WASI takes longer than running a
//! small one. A new interface is a file with its `INTERFACES` and a line in [`ALL`]; one that needs a grant tells so
//! to `inspect` ([`Interface::needs`]) and to the sandbox ([`add_needs`]).

mod cli;
mod clocks;
mod completion;
mod context;
mod environment;
mod filesystem;
mod handles;
mod hooks;
mod http;
mod interface;
mod io;
mod outbound;
mod p1;
mod random;
mod resolver;
mod sockets;
mod state;
mod stderr;

use crate::config::HandlerConfig;
use crate::limits::Refused;
use crate::net::Stdio;
use crate::sandbox::Needs;
use filesystem::GrantError;
use interface::Interface;
use std::sync::Arc;
use thiserror::Error;
use wasm_sock_engine::InstanceCost;
use wasmtime::component::Linker;
use wasmtime_wasi::WasiCtx;

pub use completion::Completion;
pub use environment::GuestContext;
pub use handles::{HANDLE, MOST as MOST_HANDLES};
pub use interface::parse;
pub use p1::{MODULES as WASI_0_1, define as define_p1};
pub use state::GuestState;

/// All that a component can be linked to.
const ALL: [&[Interface]; 7] = [
    cli::INTERFACES,
    clocks::INTERFACES,
    filesystem::INTERFACES,
    http::INTERFACES,
    io::INTERFACES,
    random::INTERFACES,
    sockets::INTERFACES,
];

fn find(import: &str) -> Option<&'static Interface> {
    let (name, minor) = parse(import)?;
    let mut all = ALL.iter().copied().flatten();
    all.find(|interface| interface.name == name && interface.minor == minor)
}

/// Defines the interface `import`. Returns whether there is such an interface.
///
/// # Errors
/// When it is there already.
pub fn define(linker: &mut Linker<GuestState>, import: &str) -> wasmtime::Result<bool> {
    match find(import) {
        Some(interface) => (interface.define)(linker).map(|()| true),
        None => Ok(false),
    }
}

/// The setting without which an import is of no use, for people; `-`: none. `import` is an interface, or a function
/// of WASI 0.1 behind the name of its module.
pub fn needs_of(import: &str) -> &'static str {
    let function = import
        .split_once('.')
        .and_then(|(module, function)| WASI_0_1.contains(&module).then_some(function));
    match function {
        Some(function) => p1::needs_of(function),
        None => find(import).map_or("-", |interface| interface.needs),
    }
}

/// The state for a guest that works for `guest`, and takes so much to begin with. One without `stdio` has nothing to
/// read; what it prints is logged.
///
/// # Errors
/// When a granted directory cannot be opened, or its instance takes more than it may have.
pub fn state(guest: Arc<GuestContext>, cost: InstanceCost, stdio: Option<Stdio>) -> Result<GuestState, StateError> {
    let granted = match guest.config.dirs.is_empty() {
        true => None,
        false => {
            let mut builder = WasiCtx::builder();
            for dir in &guest.config.dirs {
                filesystem::grant(&mut builder, dir)?;
            }
            Some(builder)
        }
    };
    Ok(GuestState::new(guest, cost, stdio, granted)?)
}

/// Why a guest has no state.
#[derive(Debug, Error)]
pub enum StateError {
    #[error(transparent)]
    Grant(#[from] GrantError),
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Adds what the guests of a handler need of the host's sandbox for what they were granted.
pub fn add_needs(handler: &HandlerConfig, needs: &mut Needs) {
    filesystem::add_needs(handler, needs);
    outbound::add_needs(handler, needs);
}
