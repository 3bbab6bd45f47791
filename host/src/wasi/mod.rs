//! WASI (the WebAssembly System Interface): the interfaces that guests import, one file each, and the state of a
//! guest.
//!
//! A guest is linked only to the interfaces that it imports: registering all of WASI takes longer than running a small
//! guest. A new interface is a file with its `INTERFACES` and a line in [`ALL`]. An interface that needs a grant says
//! so to `inspect` ([`Interface::needs`]) and to the sandbox ([`add_needs`]).

mod cli;
mod clocks;
mod completion;
mod config;
mod context;
mod environment;
mod filesystem;
mod handles;
mod hooks;
mod http;
mod interface;
mod io;
mod keyvalue;
mod outbound;
mod outgoing;
mod p1;
mod random;
mod sockets;
mod state;
mod stderr;
mod values;

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
use wasmtime::component::types::ComponentItem;
use wasmtime_wasi::WasiCtx;

pub use completion::Completion;
pub use environment::GuestContext;
pub use handles::{HANDLE, MOST as MOST_HANDLES};
pub use interface::parse;
pub use p1::{MODULES as WASI_0_1, define as define_p1};
pub use state::GuestState;
pub use values::Values;

/// All interfaces that a component can be linked to.
const ALL: &[&[Interface]] = &[
    cli::INTERFACES,
    clocks::INTERFACES,
    config::INTERFACES,
    filesystem::INTERFACES,
    http::INTERFACES,
    io::INTERFACES,
    keyvalue::INTERFACES,
    random::INTERFACES,
    sockets::INTERFACES,
];

fn find(import: &str) -> Option<&'static Interface> {
    let (name, version) = parse(import)?;
    let mut all = ALL.iter().copied().flatten();
    all.find(|interface| interface.name == name && interface.version == version)
}

/// Adds the interface `import` to a linker, as a component wants it. Returns whether the host has such an interface.
///
/// # Errors
/// When it was defined before.
pub fn define(linker: &mut Linker<GuestState>, import: &str, wanted: &ComponentItem) -> wasmtime::Result<bool> {
    let Some(interface) = find(import) else {
        return Ok(false);
    };
    (interface.define)(linker)?;
    if import == keyvalue::BATCH && keyvalue::wants_older_get_many(linker, wanted) {
        keyvalue::define_older_get_many(linker)?;
    }
    Ok(true)
}

/// The setting that an import needs to be of use, as `inspect` shows it; `-`: none. `import` is an interface, or the
/// module and name of a function of WASI 0.1.
pub fn needs_of(import: &str) -> &'static str {
    let function = import
        .split_once('.')
        .and_then(|(module, function)| WASI_0_1.contains(&module).then_some(function));
    match function {
        Some(function) => p1::needs_of(function),
        None => find(import).map_or("-", |interface| interface.needs),
    }
}

/// Creates the state of a guest whose instance takes `cost`. Without `stdio`, its standard input is empty and its
/// standard output is logged.
///
/// # Errors
/// When a granted directory cannot be opened, or the instance exceeds a memory limit.
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

/// Why the state of a guest cannot be created.
#[derive(Debug, Error)]
pub enum StateError {
    #[error(transparent)]
    Grant(#[from] GrantError),
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// Adds what the sandbox has to allow for the grants of handler `name`.
pub fn add_needs(name: &str, handler: &HandlerConfig, needs: &mut Needs) {
    filesystem::add_needs(handler, needs);
    outbound::add_needs(handler, needs);
    values::add_needs(name, handler, needs);
}
