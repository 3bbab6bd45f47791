//! `wasm-sock`, inetd for WebAssembly: see `wasm-sock help`.
//!
//! Data flows downward only: [`serve`] brings sockets ([`activation`]) and guests ([`guest`],
//! loaded by [`module`]) together as [`config`] says, [`lifecycle`] decides when to leave, and
//! [`sandbox`] holds all of it.

mod allocator;
mod cli;
mod journal;
mod lifecycle;
mod limits;
mod memory;
mod module;
mod net;
mod runtime;
mod sandbox;
mod serve;
mod siblings;
mod sync;
mod trace;
mod wasi;

use wasm_sock_activation as activation;
use wasm_sock_config as config;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: allocator::Allocator = allocator::Allocator;

fn main() -> ExitCode {
    cli::main()
}
