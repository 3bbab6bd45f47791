//! `wasm-sock`, the host: an inetd for WebAssembly. systemd starts it when a client connects, and it runs a guest for
//! each connection.
//!
//! ARCHITECTURE.md lists the modules in the order of their dependencies: each imports only those before it.

mod cli;
mod egress;
mod event_loop;
mod http_client;
mod journal;
mod keeper;
mod keyvalue;
mod libc_overrides;
mod lifecycle;
mod limits;
mod module;
mod net;
mod runtime;
mod sandbox;
mod serve;
mod siblings;
mod startup;
mod sync;
mod trace;
mod wasi;

use wasm_sock_activation as activation;
use wasm_sock_config as config;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: libc_overrides::heap::Allocator = libc_overrides::heap::Allocator;

fn main() -> ExitCode {
    cli::main()
}
