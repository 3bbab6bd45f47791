//! The engines of this process.

use super::code_memory::FromFile;
use super::pool::{Place, Pools};
use std::sync::{Arc, OnceLock};
use wasm_sock_engine::Calls;
use wasmtime::{Engine, PoolingAllocationConfig};

/// The engines that load and run the guests of this process. All but the first are made when they
/// are first asked for.
#[derive(Clone)]
pub struct Engines {
    /// For all but WASI 0.3.
    pub blocking: Engine,
    /// Stack of one guest, in bytes.
    stack: u32,
    concurrent: Arc<OnceLock<Engine>>,
    pools: Arc<Pools>,
}

impl Engines {
    /// Engines whose guests have `stack` bytes of it each.
    ///
    /// # Errors
    /// When the settings make no engine.
    pub fn new(stack: u32) -> wasmtime::Result<Self> {
        Ok(Self {
            blocking: engine(Calls::Blocking, stack, None)?,
            stack,
            concurrent: Arc::default(),
            pools: Arc::default(),
        })
    }

    /// The engine for WASI 0.3.
    ///
    /// # Errors
    /// When the settings make no engine.
    pub fn concurrent(&self) -> wasmtime::Result<&Engine> {
        if let Some(engine) = self.concurrent.get() {
            return Ok(engine);
        }
        let engine = engine(Calls::Concurrent, self.stack, None)?;
        Ok(self.concurrent.get_or_init(|| engine))
    }

    /// A place in a pool; `None`: there is none to be had.
    pub fn place(&self) -> Option<Place> {
        self.pools.place(self.stack)
    }

    /// Waits until there are pools that have not been in use for a while, and gives their memory back.
    pub async fn give_back_pools(&self) {
        self.pools.give_back().await;
    }
}

/// Stack for the host functions that a guest calls, in bytes. Reserved, not used.
const HOST_STACK: usize = 512 << 10;

/// An engine, whose instances come from a pool if one is described.
///
/// How much `stack` a guest has is no part of what is compiled: artifacts stay as they are.
pub fn engine(
    calls: Calls,
    stack: u32,
    pool: Option<PoolingAllocationConfig>,
) -> wasmtime::Result<Engine> {
    let mut config = wasm_sock_engine::config(calls);
    config
        .with_custom_code_memory(Some(Arc::new(FromFile)))
        .max_wasm_stack(stack as usize)
        .async_stack_size(stack as usize + HOST_STACK);
    if let Some(pool) = pool {
        config.allocation_strategy(pool);
    }
    Engine::new(&config)
}
