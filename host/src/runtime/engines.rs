//! The engines of this process.

use super::engine::engine;
use super::linked::Linked;
use super::pool::{PoolSlot, Pools};
use std::sync::{Arc, OnceLock};
use wasm_sock_engine::Support;
use wasmtime::Engine;

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
    pools: Arc<Pools<Linked>>,
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

    /// A slot in a pool; `None`: there is none to be had.
    pub fn slot(&self) -> Option<PoolSlot<Linked>> {
        self.pools.slot(self.stack)
    }

    /// Waits until there are pools that have not been in use for a while, and gives their memory back.
    pub async fn give_back_pools(&self) {
        self.pools.give_back().await;
    }
}
