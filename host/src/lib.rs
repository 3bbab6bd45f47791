//! The library under `wasm-sock`, inetd for WebAssembly.
//!
//! Data flows downward only: [`serve`] brings sockets ([`activation`]) and guests ([`guest`],
//! loaded by [`module`]) together as [`config`] says, [`lifecycle`] decides when to leave, and
//! [`sandbox`] holds all of it. A snapshot spares the next start to find out what this one did.

pub mod activation;
pub mod cli;
pub mod config;
mod event_loop;
pub mod guest;
pub mod journal;
pub mod libc_overrides;
pub mod lifecycle;
pub mod module;
pub mod sandbox;
pub mod serve;
mod snapshot;
mod sync;
pub mod trace;
