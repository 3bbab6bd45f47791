//! Memories, tables and stacks that are used again instead of being mapped anew for each guest.
//!
//! There is no pool before guests come in quick succession, one more when all places are taken, and
//! none again soon after they were all left: a host that has rested has no more memory than before.

use super::clock::{self, Ticks};
use super::engines::engine;
use super::program::Guest;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;
use wasm_sock_engine::Support;
use wasmtime::{Enabled, Engine, PoolingAllocationConfig};

/// Guests that are in a pool at a time.
const PLACES: u32 = 128;

/// Room for those that are on their way out while others come.
const SPARE: u32 = 8;

/// Each pool reserves 1.1 TiB of addresses, though no memory; there are 128 TiB.
const MOST_POOLS: usize = 96;

/// How long a pool is left alone before its memory is given back, or twice as long.
const REST: Duration = Duration::from_secs(1);

/// Memory of a place that is cleared and kept, in bytes; what is beyond is given back. Where the kernel
/// tells what was written to (Linux 6.7), nothing else is cleared.
const KEPT: usize = 64 * 1024;
const KEPT_IF_WRITTEN: usize = 256 * 1024;

/// What a component may consist of to fit a place.
const CORE_INSTANCES: u32 = 8;
const MEMORIES: u32 = 2;
const TABLES: u32 = 8;

/// Opens what a pool asks for the pages that a guest wrote to: a process that has confined itself
/// could not, and each place would be cleared whole.
pub fn open_pagemap() {
    PoolingAllocationConfig::is_pagemap_scan_available();
}

/// The pools of a process.
#[derive(Default)]
pub struct Pools {
    pools: Mutex<Vec<Arc<Pool>>>,
    /// No more can be had (a limit of the service, or of the machine).
    exhausted: AtomicBool,
    made: Notify,
}

impl Pools {
    /// A place in a pool, which may be made for it; its guests have `stack` bytes of that each.
    pub fn place(&self, stack: u32) -> Option<Place> {
        let mut pools = self.pools();
        // The oldest first, so that the younger ones come to rest.
        let place = pools.iter().find_map(Pool::place);
        if place.is_some() || pools.len() >= MOST_POOLS || self.exhausted.load(SeqCst) {
            return place;
        }
        let Ok(pool) = Pool::new(stack) else {
            self.exhausted.store(true, SeqCst);
            return None;
        };
        let pool = Arc::new(pool);
        let place = pool.place();
        pools.push(pool);
        self.made.notify_one();
        place
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
            let rested: Vec<Arc<Pool>> = self.pools().extract_if(.., |pool| pool.rests()).collect();
            if !rested.is_empty() {
                self.exhausted.store(false, SeqCst);
                return;
            }
        }
    }

    fn pools(&self) -> MutexGuard<'_, Vec<Arc<Pool>>> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places for guests, and the guests that have been there.
pub struct Pool {
    engine: Engine,
    /// By the number of the program; `None`: it does not fit.
    guests: Mutex<HashMap<u64, Option<Arc<Guest>>>>,
    taken: AtomicU32,
    /// Has anybody come since it was asked whether it rests?
    is_used: AtomicBool,
    _ticks: Option<Ticks>,
}

/// A guest's place in a pool.
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
        let engine = engine(Support::PLAIN, stack, Some(config))?;
        Ok(Self {
            _ticks: clock::start(&engine),
            engine,
            guests: Mutex::default(),
            taken: AtomicU32::new(0),
            is_used: AtomicBool::new(true),
        })
    }

    /// A place, unless all are taken.
    fn place(self: &Arc<Self>) -> Option<Place> {
        let place = Place(self.clone());
        if self.taken.fetch_add(1, SeqCst) >= PLACES {
            return None;
        }
        self.is_used.store(true, SeqCst);
        Some(place)
    }

    /// Has nobody been here since this was asked last?
    fn rests(&self) -> bool {
        !self.is_used.swap(false, SeqCst) && self.taken.load(SeqCst) == 0
    }
}

impl Place {
    /// The guest of a program, as it is `linked` for the first time here.
    pub fn guest(&self, program: u64, linked: impl FnOnce(&Engine) -> Option<Guest>) -> Option<Arc<Guest>> {
        let guests = self.0.guests.lock();
        let mut guests = guests.unwrap_or_else(PoisonError::into_inner);
        let guest = guests.entry(program);
        let guest = guest.or_insert_with(|| linked(&self.0.engine).map(Arc::new));
        guest.clone()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, SeqCst);
    }
}
