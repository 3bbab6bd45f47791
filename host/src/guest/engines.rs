//! The engines of this process, and the pool that instances come from once there are many.

use super::code_memory::FromFile;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, OnceLock};
use wasm_sock_engine::Calls;
use wasmtime::{Enabled, Engine, PoolingAllocationConfig};

/// The engines that load and run the guests of this process. All but the first are made when they
/// are first asked for.
#[derive(Clone)]
pub struct Engines {
    /// For all but WASI 0.3.
    pub blocking: Engine,
    /// Stack of one guest, in bytes.
    stack: u32,
    concurrent: Arc<OnceLock<Engine>>,
    pool: Arc<OnceLock<Option<Arc<Pool>>>>,
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
            pool: Arc::default(),
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

    /// The pool, if this process may have one: it reserves a terabyte of addresses, though no memory.
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        let pool = || Some(Arc::new(Pool::new(self.stack).ok()?));
        self.pool.get_or_init(pool).as_ref()
    }
}

/// Opens what the pool asks for the pages that a guest wrote to: a process that has confined itself
/// could not, and each place would be cleared whole.
pub fn open_pagemap() {
    PoolingAllocationConfig::is_pagemap_scan_available();
}

/// Stack for the host functions that a guest calls, in bytes. Reserved, not used.
const HOST_STACK: usize = 512 << 10;

/// How much `stack` a guest has is no part of what is compiled: artifacts stay as they are.
fn engine(
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

/// Guests that are in the pool at a time. More get memory of their own.
const PLACES: u32 = 128;

/// Room for those that are on their way out while others come.
const SPARE: u32 = 8;

/// Memory of a place that is cleared and kept, in bytes; what is beyond is given back. Where the kernel
/// tells what was written to (Linux 6.7), nothing else is cleared.
const KEPT: usize = 64 * 1024;
const KEPT_IF_WRITTEN: usize = 256 * 1024;

/// What a component may consist of to fit a place.
const CORE_INSTANCES: u32 = 8;
const MEMORIES: u32 = 2;
const TABLES: u32 = 8;

/// Memories, tables and stacks that are used again instead of being mapped anew for each guest.
pub struct Pool {
    engine: Engine,
    taken: AtomicU32,
}

/// A guest's place in the pool.
pub struct Place(Arc<Pool>);

impl Pool {
    fn new(stack: u32) -> wasmtime::Result<Self> {
        let count = PLACES + SPARE;
        let mut config = PoolingAllocationConfig::new();
        let kept = match PoolingAllocationConfig::is_pagemap_scan_available() {
            true => KEPT_IF_WRITTEN,
            false => KEPT,
        };
        config
            .pagemap_scan(Enabled::Auto)
            .total_component_instances(count)
            .max_core_instances_per_component(CORE_INSTANCES)
            .total_core_instances(count * CORE_INSTANCES)
            .max_memories_per_component(MEMORIES)
            .total_memories(count * MEMORIES)
            .max_tables_per_component(TABLES)
            .total_tables(count * TABLES)
            .total_stacks(count)
            .linear_memory_keep_resident(kept)
            .table_keep_resident(KEPT)
            .async_stack_keep_resident(KEPT);
        Ok(Self {
            engine: engine(Calls::Blocking, stack, Some(config))?,
            taken: AtomicU32::new(0),
        })
    }

    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// A place, unless all are taken.
    pub fn place(self: &Arc<Self>) -> Option<Place> {
        let place = Place(self.clone());
        (self.taken.fetch_add(1, SeqCst) < PLACES).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, SeqCst);
    }
}
