//! Memory limits: of one guest (`memory`, `table-elements`) and of all guests of the process together (`max-memory`).

use super::cpu::Meter;
use crate::config::Limits;
use nix::sys::sysinfo::sysinfo;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use thiserror::Error;
use wasm_sock_engine::InstanceCost;
use wasmtime::ResourceLimiter;

/// The most files, directories and sockets that a guest may have open at a time.
pub const MOST_DESCRIPTORS: usize = 256;

/// The limit of all guests together, in bytes; `u64::MAX` means unlimited, and nothing is counted.
static LIMIT: AtomicU64 = AtomicU64::new(u64::MAX);

/// Bytes that all guests together use.
static USED: AtomicU64 = AtomicU64::new(0);

/// Sets the limit of all guests together, in bytes, for guests that are created from here on.
pub fn limit_all(bytes: u64) {
    LIMIT.store(bytes, Relaxed);
}

/// The memory of this machine, in bytes; `u64::MAX` if it is unknown.
pub fn machine_memory() -> u64 {
    sysinfo().map_or(u64::MAX, |info| info.ram_total())
}

/// Reserves `bytes` of the limit of all guests, if that many are left.
fn take(bytes: u64, limit: u64) -> bool {
    let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= limit);
    USED.try_update(Relaxed, Relaxed, more).is_ok()
}

/// The size of a table element, in bytes.
const ELEMENT: usize = size_of::<usize>();

/// Counts the linear memories and tables of a guest against its limits.
///
/// The limits are for their sum, because a component may have several; tables count as memory, too.
pub struct Budget {
    /// Its `memory`, in bytes.
    most: usize,
    /// Bytes that are left of it.
    memory: usize,
    /// What is left of its `table-elements`.
    elements: usize,
    /// Bytes of it that the guest's handles take in the host.
    held: usize,
    /// Timer ticks until the handles are counted again.
    ticks: usize,
    /// Bytes that it has reserved of the limit of all guests.
    taken: u64,
    /// The limit that was exceeded last, the likely cause if the guest then traps.
    pub refused: Option<Refused>,
    /// Is told the most that was in use at a time.
    meter: Option<Arc<Meter>>,
}

/// The limit that a guest exceeded, with the text for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refused {
    #[error("ran out of memory (raise `memory` if it needs more)")]
    Memory,
    #[error("its instance needs more memory than it may have (raise `memory` if it needs more)")]
    Start,
    #[error("all guests together ran out of memory (raise `max-memory` in [host] if they may have more)")]
    MemoryOfAll,
    #[error("ran out of table elements (raise `table-elements` if it needs more)")]
    Elements,
    #[error("has more than {MOST_DESCRIPTORS} files and sockets open")]
    Descriptors,
}

impl Budget {
    /// The budget of a guest whose instance takes `cost`.
    ///
    /// # Errors
    /// When `cost` exceeds a limit.
    pub fn new(limits: &Limits, cost: InstanceCost) -> Result<Self, Refused> {
        let most = usize::try_from(limits.memory).unwrap_or(usize::MAX);
        let mut budget = Self {
            most,
            memory: most,
            elements: limits.table_elements as usize,
            held: 0,
            ticks: 0,
            taken: 0,
            refused: None,
            meter: None,
        };
        // The copy goes to memories and tables that are counted themselves. It is limited because no other guest of
        // the thread runs until it is done.
        if u64::from(cost.copied) > limits.memory {
            return Err(Refused::Start);
        }
        budget.grow(cost.held as usize, 0).map_err(|why| match why {
            Refused::Memory => Refused::Start,
            why => why,
        })?;
        Ok(budget)
    }

    /// Tells `meter` the most memory that is in use at a time, from here on.
    pub fn report_to(&mut self, meter: Arc<Meter>) {
        meter.see_memory(self.most - self.memory);
        self.meter = Some(meter);
    }

    fn grow(&mut self, bytes: usize, elements: usize) -> Result<(), Refused> {
        let elements = self.elements.checked_sub(elements);
        let elements = elements.ok_or(Refused::Elements)?;
        let memory = self.memory.checked_sub(bytes).ok_or(Refused::Memory)?;
        let limit = LIMIT.load(Relaxed);
        if limit != u64::MAX {
            let bytes = bytes as u64;
            if !take(bytes, limit) {
                return Err(Refused::MemoryOfAll);
            }
            self.taken += bytes;
        }
        (self.memory, self.elements) = (memory, elements);
        if let Some(meter) = &self.meter {
            meter.see_memory(self.most - memory);
        }
        Ok(())
    }

    /// Called at a timer tick: is it time to count the guest's handles?
    pub fn tick(&mut self) -> bool {
        let ticks = self.ticks;
        self.ticks = ticks.saturating_sub(1);
        ticks == 0
    }

    /// Counts `bytes` for the guest's handles, in place of the former count. They are counted again after `ticks`
    /// timer ticks.
    ///
    /// # Errors
    /// When they exceed what is left.
    pub fn hold(&mut self, bytes: usize, ticks: usize) -> Result<(), Refused> {
        self.ticks = ticks;
        if bytes > self.held {
            let more = bytes - self.held;
            self.grow(more, 0)
                .inspect_err(|refused| self.refused = Some(*refused))?;
        } else {
            let less = self.held - bytes;
            self.memory += less;
            let given_back = self.taken.min(less as u64);
            self.taken -= given_back;
            USED.fetch_sub(given_back, Relaxed);
        }
        self.held = bytes;
        Ok(())
    }

    /// May it have this many more bytes, and this many more table elements in them?
    fn may_grow(&mut self, bytes: usize, elements: usize) -> bool {
        let refused = self.grow(bytes, elements).err();
        self.refused = refused.or(self.refused);
        refused.is_none()
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        if self.taken > 0 {
            USED.fetch_sub(self.taken, Relaxed);
        }
    }
}

impl ResourceLimiter for Budget {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(self.may_grow(desired.saturating_sub(current), 0))
    }

    /// Each memory takes 4 GiB of address space, and a few of the mappings that a process may have
    /// (`vm.max_map_count`).
    fn memories(&self) -> usize {
        64
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let elements = desired.saturating_sub(current);
        Ok(self.may_grow(elements.saturating_mul(ELEMENT), elements))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(memory: u64, table_elements: u32) -> Budget {
        let limits = Limits {
            memory,
            table_elements,
            ..Limits::default()
        };
        Budget::new(&limits, InstanceCost::default()).unwrap()
    }

    #[test]
    fn what_an_instance_takes_counts_from_the_start() {
        let limits = Limits {
            memory: 1000,
            ..Limits::default()
        };
        let cost = |held, copied| InstanceCost { held, copied };
        let mut budget = Budget::new(&limits, cost(900, 1000)).unwrap();
        assert!(!budget.memory_growing(0, 101, None).unwrap());
        assert!(budget.memory_growing(0, 100, None).unwrap());
        for too_much in [cost(1001, 0), cost(0, 1001)] {
            assert_eq!(Budget::new(&limits, too_much).err(), Some(Refused::Start));
        }
    }

    #[test]
    fn memories_and_tables_share_one_limit() {
        let mut budget = budget(1000, 1000);
        assert!(budget.memory_growing(0, 600, None).unwrap());
        assert!(budget.table_growing(0, 50, None).unwrap());
        assert_eq!(budget.refused, None);
        assert!(!budget.memory_growing(600, 601, None).unwrap());
        assert_eq!(budget.refused, Some(Refused::Memory));
    }

    #[test]
    fn what_the_host_holds_counts_as_long_as_it_does() {
        let mut budget = budget(1000, 1000);
        assert_eq!(budget.hold(900, 0), Ok(()));
        assert!(!budget.memory_growing(0, 200, None).unwrap());
        assert_eq!(budget.hold(1001, 0), Err(Refused::Memory));
        assert_eq!(budget.hold(100, 0), Ok(()));
        assert!(budget.memory_growing(0, 900, None).unwrap());
        assert_eq!(budget.hold(101, 0), Err(Refused::Memory));
    }

    #[test]
    fn the_meter_knows_the_most_that_was_in_use_at_a_time() {
        let meter = Meter::new(Arc::default(), InstanceCost::default());
        let mut budget = budget(1000, 100);
        assert!(budget.memory_growing(0, 200, None).unwrap());
        budget.report_to(meter.clone());
        assert_eq!(meter.memory_peak(), 200);
        budget.hold(500, 0).unwrap();
        budget.hold(0, 0).unwrap();
        assert!(budget.memory_growing(200, 300, None).unwrap());
        assert!(!budget.memory_growing(300, 2000, None).unwrap());
        assert_eq!(meter.memory_peak(), 700);
    }

    #[test]
    fn all_tables_share_one_limit_and_what_is_refused_is_not_counted() {
        let mut budget = budget(10_000, 100);
        assert!(budget.table_growing(0, 60, None).unwrap());
        assert!(!budget.table_growing(0, 41, None).unwrap());
        assert_eq!(budget.refused, Some(Refused::Elements));
        assert!(budget.table_growing(60, 100, None).unwrap());
        assert!(budget.memory_growing(0, 9200, None).unwrap());
    }
}
