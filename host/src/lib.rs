//! The library under `wasm-sock`, inetd for WebAssembly.
//!
//! Data flows downward only: [`serve`] brings sockets ([`activation`]) and guests ([`guest`],
//! loaded by [`module`]) together as [`config`] says, [`lifecycle`] decides when to leave, and
//! [`sandbox`] holds all of it.

pub mod allocator;
pub mod cli;
pub mod guest;
pub mod journal;
pub mod lifecycle;
mod memory;
pub mod module;
pub mod sandbox;
pub mod serve;
mod sync;
pub mod trace;

pub use wasm_sock_activation as activation;
pub use wasm_sock_config as config;
