//! The store of one guest, with its limits in force.

use super::outcome::CpuTimeExceeded;
use crate::limits::{Meter, Turn};
use crate::wasi::{GuestState, HANDLE, MOST_HANDLES};
use std::sync::Arc;
use std::time::Duration;
use wasmtime::{Engine, Store, UpdateDeadline};

/// A store whose guest is watched: its memory, and by `meter` its CPU time, of which it may use
/// `limit`.
pub fn store(
    engine: &Engine,
    state: GuestState,
    meter: &Arc<Meter>,
    limit: impl Fn() -> Option<Duration> + Send + Sync + 'static,
) -> Store<GuestState> {
    // What the host copies for one call is no more than the guest can have.
    let memory = usize::try_from(state.context.guest.config.limits.memory).unwrap_or(usize::MAX);
    let mut store = Store::new(engine, state);
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
