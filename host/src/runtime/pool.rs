//! Memories, tables and stacks that are used again instead of being mapped anew for each guest.
//!
//! There is no pool before guests come in quick succession, one more when all slots are taken, and
//! none again soon after they were all left: a host that has rested has no more memory than before.

use super::engine::engine;
use crate::limits::{Ticks, start_ticks};
use crate::sync::lock;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;
use wasm_sock_engine::Support;
use wasmtime::{Enabled, Engine, PoolingAllocationConfig};

/// Guests that are in a pool at a time.
const SLOTS: u32 = 128;

/// Room for those that are on their way out while others come.
const SPARE: u32 = 8;

/// Each pool reserves 1.1 TiB of addresses, though no memory; there are 128 TiB.
const MOST_POOLS: usize = 96;

/// How long a pool is left alone before its memory is given back, or twice as long.
const REST: Duration = Duration::from_secs(1);

/// Memory of a slot that is cleared and kept, in bytes; what is beyond is given back. Where the kernel
/// tells what was written to (Linux 6.7), nothing else is cleared.
const KEPT: usize = 64 * 1024;
const KEPT_IF_WRITTEN: usize = 256 * 1024;

/// What a component may consist of to fit a slot.
const CORE_INSTANCES: u32 = 8;
const MEMORIES: u32 = 2;
const TABLES: u32 = 8;

/// Opens what a pool asks for the pages that a guest wrote to: a process that has confined itself
/// could not, and each slot would be cleared whole.
pub fn open_pagemap() {
    PoolingAllocationConfig::is_pagemap_scan_available();
}

/// The pools of a process.
pub struct Pools<T> {
    pools: Mutex<Vec<Arc<Pool<T>>>>,
    /// No more can be had (a limit of the service, or of the machine).
    exhausted: AtomicBool,
    made: Notify,
}

impl<T> Default for Pools<T> {
    fn default() -> Self {
        Self {
            pools: Mutex::default(),
            exhausted: AtomicBool::new(false),
            made: Notify::new(),
        }
    }
}

impl<T> Pools<T> {
    /// A slot in a pool, which may be made for it; its guests have `stack` bytes of that each.
    pub fn slot(&self, stack: u32) -> Option<PoolSlot<T>> {
        let mut pools = self.pools();
        // The oldest first, so that the younger ones come to rest.
        let slot = pools.iter().find_map(Pool::slot);
        if slot.is_some() || pools.len() >= MOST_POOLS || self.exhausted.load(SeqCst) {
            return slot;
        }
        let Ok(pool) = Pool::new(stack) else {
            self.exhausted.store(true, SeqCst);
            return None;
        };
        let pool = Arc::new(pool);
        let slot = pool.slot();
        pools.push(pool);
        self.made.notify_one();
        slot
    }

    /// Waits until there are some that nobody has used for a while, and gives them back.
    pub async fn give_back(&self) {
        loop {
            let are_none = self.pools().is_empty();
            match are_none {
                // A host without pools does not wake for them.
                true => self.made.notified().await,
                false => sleep(REST).await,
            }
            let rested: Vec<Arc<Pool<T>>> = self.pools().extract_if(.., |pool| pool.rests()).collect();
            if !rested.is_empty() {
                self.exhausted.store(false, SeqCst);
                return;
            }
        }
    }

    fn pools(&self) -> MutexGuard<'_, Vec<Arc<Pool<T>>>> {
        lock(&self.pools)
    }
}

/// Slots for instances, and what is kept of the programs that have been there: a `T` each, linked for this engine.
pub struct Pool<T> {
    engine: Engine,
    /// By the number of the program; `None`: it does not fit.
    linked: Mutex<HashMap<u64, Option<Arc<T>>>>,
    taken: AtomicU32,
    /// Has anybody come since it was asked whether it rests?
    is_used: AtomicBool,
    _ticks: Option<Ticks>,
}

/// A guest's slot in a pool.
pub struct PoolSlot<T>(Arc<Pool<T>>);

impl<T> Pool<T> {
    fn new(stack: u32) -> wasmtime::Result<Self> {
        let count = SLOTS + SPARE;
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
        let engine = engine(Support::PLAIN, stack, Some(config))?;
        Ok(Self {
            _ticks: start_ticks(&engine),
            engine,
            linked: Mutex::default(),
            taken: AtomicU32::new(0),
            is_used: AtomicBool::new(true),
        })
    }

    /// A slot, unless all are taken.
    fn slot(self: &Arc<Self>) -> Option<PoolSlot<T>> {
        let slot = PoolSlot(self.clone());
        if self.taken.fetch_add(1, SeqCst) >= SLOTS {
            return None;
        }
        self.is_used.store(true, SeqCst);
        Some(slot)
    }

    /// Has nobody been here since this was asked last?
    fn rests(&self) -> bool {
        !self.is_used.swap(false, SeqCst) && self.taken.load(SeqCst) == 0
    }
}

impl<T> PoolSlot<T> {
    /// What is kept of a program here: what `link` makes, when there is nothing yet. `None`: it does not fit.
    pub fn get_or_link(&self, program: u64, link: impl FnOnce(&Engine) -> Option<T>) -> Option<Arc<T>> {
        let mut linked = lock(&self.0.linked);
        let kept = linked.entry(program);
        kept.or_insert_with(|| link(&self.0.engine).map(Arc::new)).clone()
    }
}

impl<T> Drop for PoolSlot<T> {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, SeqCst);
    }
}
