//! The engines of this process.

use super::code_memory::FromFile;
use super::pool::{Place, Pools};
use std::sync::{Arc, OnceLock};
use wasm_sock_engine::Support;
use wasmtime::{Engine, PoolingAllocationConfig};

/// The engines that load and run the guests of this process. All but the first are made when they
/// are first asked for.
#[derive(Clone)]
pub struct Engines {
    /// For most guests.
    pub plain: Engine,
    /// Stack of one guest, in bytes.
    stack: u32,
    /// In the order of [`Support::ALL`], without the first.
    others: Arc<[OnceLock<Engine>; Support::ALL.len() - 1]>,
    pools: Arc<Pools>,
}

impl Engines {
    /// Engines whose guests have `stack` bytes of it each.
    ///
    /// # Errors
    /// When the settings make no engine.
    pub fn new(stack: u32) -> wasmtime::Result<Self> {
        Ok(Self {
            plain: engine(Support::PLAIN, stack, None)?,
            stack,
            others: Arc::default(),
            pools: Arc::default(),
        })
    }

    /// All engines, the one that most artifacts are made for first.
    ///
    /// # Errors
    /// When the settings make no engine.
    pub fn all(&self) -> impl Iterator<Item = wasmtime::Result<&Engine>> {
        let others = Support::ALL[1..].iter().zip(self.others.iter());
        let others = others.map(|(support, made)| match made.get() {
            Some(engine) => Ok(engine),
            None => {
                let engine = engine(*support, self.stack, None)?;
                Ok(made.get_or_init(|| engine))
            }
        });
        std::iter::once(Ok(&self.plain)).chain(others)
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
pub fn engine(support: Support, stack: u32, pool: Option<PoolingAllocationConfig>) -> wasmtime::Result<Engine> {
    let mut config = wasm_sock_engine::config(support);
    config
        .with_custom_code_memory(Some(Arc::new(FromFile)))
        .max_wasm_stack(stack as usize)
        .async_stack_size(stack as usize + HOST_STACK);
    if let Some(pool) = pool {
        config.allocation_strategy(pool);
    }
    Engine::new(&config)
}
