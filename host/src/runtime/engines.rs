//! The Wasmtime engines of this process: one for each kind of artifact, and those of the pools.

use super::engine::engine;
use super::linked::Linked;
use super::pool::{PoolSlot, Pools};
use std::sync::{Arc, OnceLock};
use wasm_sock_engine::Support;
use wasmtime::Engine;

/// The engines that load and run the guests of this process. All but the first are created on first use.
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
    /// When Wasmtime does not accept the settings.
    pub fn new(stack: u32) -> wasmtime::Result<Self> {
        Ok(Self {
            plain: engine(Support::PLAIN, stack, None)?,
            stack,
            others: Arc::default(),
            pools: Arc::default(),
        })
    }

    /// All engines; first the one that most artifacts are made for.
    ///
    /// # Errors
    /// When Wasmtime does not accept the settings.
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

    /// Takes a slot of a pool; `None`: none is free and no other pool can be created.
    pub fn slot(&self) -> Option<PoolSlot<Linked>> {
        self.pools.slot(self.stack)
    }

    /// Waits until pools have not been used for a while, and returns their memory to the kernel.
    pub async fn give_back_pools(&self) {
        self.pools.give_back().await;
    }
}
