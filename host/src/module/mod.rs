//! A file on disk becomes a program that is ready to be instantiated.

mod artifact;
mod cache;
mod compiler;
mod files;
mod handler;
mod load;

pub use artifact::Distrust;
pub use cache::Cache;
pub use compiler::compiler_path;
pub use files::{Files, Stamp};
pub use handler::{Handler, Unavailable};
pub use load::LoadError;

use wasmtime::{Config, Engine};

/// Stack for one guest and the host functions it calls, in bytes. Reserved, not used.
const STACK: usize = 1 << 20;

/// The engine that loads and runs every guest of this process.
pub fn engine() -> wasmtime::Result<Engine> {
    let mut config: Config = wasm_sock_engine::config();
    config.async_stack_size(STACK);
    Engine::new(&config)
}
