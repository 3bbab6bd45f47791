//! Runs a guest with standard input and output (`_start`, `wasi:cli/run`), from its instantiation to its end.

use super::engines::Engines;
use super::linked::Linked;
use super::outcome::{GuestEnd, end_of};
use super::program::Program;
use super::store::store;
use super::turns::take_turns;
use crate::limits::{Meter, Metered};
use crate::trace::{self, Mark};
use crate::wasi::GuestState;
use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;
use wasmtime::Store;
use wasmtime::component::Accessor;

/// Runs `program` until it ends. Dropping the future ends the guest.
///
/// `cpu_time` is the limit of its CPU time; `meter` measures it.
pub fn run(
    engines: &Engines,
    program: Arc<Program>,
    state: GuestState,
    cpu_time: Option<Duration>,
    meter: Arc<Meter>,
) -> impl Future<Output = GuestEnd> + Send + use<> {
    let (watched, engines) = (meter.clone(), engines.clone());
    let guest = async move {
        // The slot is released after the store was dropped.
        let (guest, _slot) = program.guest(&engines);
        let mut store = store(guest.engine(), state, &watched, move || cpu_time);
        let result = call(&guest, &mut store).await;
        end_of(result, &store)
    };
    take_turns(Metered::new(guest, meter.clone()), meter)
}

/// Instantiates the program and calls its exported function. Returns the exit code, which may also be in an error
/// ([`I32Exit`]).
async fn call(guest: &Linked, mut store: &mut Store<GuestState>) -> wasmtime::Result<i32> {
    match guest {
        Linked::Core(pre) => {
            let instance = pre.instantiate_async(&mut store).await?;
            trace::pass(Mark::Instantiate);
            let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
            start.call_async(&mut store, ()).await?;
            Ok(0)
        }
        Linked::Command(pre) => {
            let command = pre.instantiate_async(&mut store).await?;
            trace::pass(Mark::Instantiate);
            let outcome = command.wasi_cli_run().call_run(&mut store).await?;
            Ok(i32::from(outcome.is_err()))
        }
        Linked::AsyncCommand(pre) => {
            let command = pre.instantiate_async(&mut store).await?;
            trace::pass(Mark::Instantiate);
            let run = async |accessor: &Accessor<GuestState>| {
                let outcome = command.wasi_cli_run().call_run(accessor).await?;
                // It may have tasks that continue after it has returned its result.
                poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
                Ok(i32::from(outcome.is_err()))
            };
            store.run_concurrent(run).await?
        }
        Linked::Proxy(_) | Linked::Service(_) => {
            wasmtime::bail!("it answers HTTP requests, and was given bytes")
        }
    }
}
