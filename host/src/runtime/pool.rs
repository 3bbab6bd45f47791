//! Instance pools: memories, tables and stacks that are reused instead of being mapped anew for each guest
//! (Wasmtime's pooling allocator).
//!
//! The first pool is created when guests start in quick succession, and another one when all slots are taken. A pool
//! that was not used for a while is freed, so that an idle host has no more memory than before.

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

/// Instances of a pool at the same time.
const SLOTS: u32 = 128;

/// Additional slots, for instances that are being dropped while others start.
const SPARE: u32 = 8;

/// Each pool reserves 1.1 TiB of address space, of which a process has 128 TiB.
const MOST_POOLS: usize = 96;

/// Interval at which pools are checked: a pool that was not used since the last check is freed, which is after one to
/// two intervals.
const IDLE_TIME: Duration = Duration::from_secs(1);

/// Memory of a slot that is cleared and kept for the next instance, in bytes; the rest is returned to the kernel.
/// Where the kernel reports which pages were written to (Linux 6.7), only those are cleared.
const KEPT: usize = 64 * 1024;
const KEPT_IF_WRITTEN: usize = 256 * 1024;

/// The most core instances, memories and tables of a component that fits a slot.
const CORE_INSTANCES: u32 = 8;
const MEMORIES: u32 = 2;
const TABLES: u32 = 8;

/// Opens `/proc/self/pagemap`, which tells a pool the pages that a guest wrote to. A sandboxed process could not open
/// it, and the pool would clear each slot completely.
pub fn open_pagemap() {
    PoolingAllocationConfig::is_pagemap_scan_available();
}

/// The pools of a process.
pub struct Pools<T> {
    pools: Mutex<Vec<Arc<Pool<T>>>>,
    /// No more pools can be created (a limit of the service, or of the machine).
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
    /// Takes a slot of a pool, which is created if all are full. `stack` is the stack of one guest, in bytes. `None`:
    /// no pool can be created.
    pub fn slot(&self, stack: u32) -> Option<PoolSlot<T>> {
        let mut pools = self.pools();
        // The oldest first, so that the younger ones become idle.
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

    /// Waits until some pools were not used for [`IDLE_TIME`], and frees them.
    pub async fn give_back(&self) {
        loop {
            let are_none = self.pools().is_empty();
            match are_none {
                // A host without pools has no timer for them.
                true => self.made.notified().await,
                false => sleep(IDLE_TIME).await,
            }
            let idle: Vec<Arc<Pool<T>>> = self.pools().extract_if(.., |pool| pool.is_idle()).collect();
            if !idle.is_empty() {
                self.exhausted.store(false, SeqCst);
                return;
            }
        }
    }

    fn pools(&self) -> MutexGuard<'_, Vec<Arc<Pool<T>>>> {
        lock(&self.pools)
    }
}

/// Slots for instances, and the programs that were linked for this pool's engine: a `T` each.
pub struct Pool<T> {
    engine: Engine,
    /// By the number of the program; `None`: it does not fit.
    linked: Mutex<HashMap<u64, Option<Arc<T>>>>,
    taken: AtomicU32,
    /// Was a slot taken since the last call of `is_idle`?
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

    /// Was no slot in use since the last call?
    fn is_idle(&self) -> bool {
        !self.is_used.swap(false, SeqCst) && self.taken.load(SeqCst) == 0
    }
}

impl<T> PoolSlot<T> {
    /// The program linked for this pool: calls `link` the first time. `None`: the program does not fit a slot.
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
