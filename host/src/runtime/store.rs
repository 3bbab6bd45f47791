//! Creates the Wasmtime store of one guest, with its limits of memory, handles and CPU time.

use super::outcome::CpuTimeExceeded;
use crate::limits::{Meter, Turn};
use crate::wasi::{GuestState, HANDLE, MOST_HANDLES};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::{Engine, Store, UpdateDeadline};

/// Creates a store that enforces the memory limits in `state`, and the `limit` of CPU time, which `meter` measures.
pub fn store(
    engine: &Engine,
    state: GuestState,
    meter: &Arc<Meter>,
    limit: impl Fn() -> Option<Duration> + Send + Sync + 'static,
) -> Store<GuestState> {
    // The host copies no more for one call than the guest's memory limit.
    let memory = usize::try_from(state.context.guest.config.limits.memory).unwrap_or(usize::MAX);
    let mut store = Store::new(engine, state);
    store.data_mut().budget.report_to(meter.clone());
    store.limiter(|state| &mut state.budget);
    store.set_hostcall_fuel(memory.min(store.hostcall_fuel()));
    store.set_max_component_handles((memory / HANDLE).min(MOST_HANDLES));
    meter.bound(limit);
    let meter = meter.clone();
    store.epoch_deadline_callback(move |mut context| {
        if context.data_mut().budget.tick() {
            let concurrent = context.concurrent_resource_table();
            let others = concurrent.map_or(0, |table| table.iter_mut().count());
            context.data_mut().account(others)?;
        }
        match meter.tick() {
            Turn::Continue => Ok(UpdateDeadline::Continue(1)),
            Turn::Yield => Ok(UpdateDeadline::Yield(1)),
            Turn::Exceeded(limit) => Err(CpuTimeExceeded { limit }.into()),
        }
    });
    store.set_epoch_deadline(1);
    store
}
