//! One guest's life, from its instantiation to its end.

use super::budget::Refused;
use super::clock::{Meter, Metered, Turn};
use super::engines::Engines;
use super::handles;
use super::program::{Guest, Program};
use super::state::State;
use crate::journal::{self, Level};
use crate::libc_overrides::heap;
use crate::trace::{self, Mark};
use std::borrow::Cow;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};
use std::task::{Context, Poll};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use wasmtime::component::Accessor;
use wasmtime::{Engine, FrameInfo, Store, Trap, UpdateDeadline, WasmBacktrace};
use wasmtime_wasi::I32Exit;

/// How a guest ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// By itself, with this exit code.
    Exit(i32),
    /// It did what a program must not do, or met a limit; why.
    Trap(String),
}

impl End {
    /// The end of a guest that took longer than its `limit`.
    pub fn timed_out(limit: Duration) -> Self {
        Self::Trap(took_longer(limit))
    }

    /// The end of a guest and a client who had nothing to say to each other for longer than `limit`.
    pub fn silent(limit: Duration) -> Self {
        Self::Trap(format!(
            "not a byte came or went for {limit:?} (raise `idle-connection-timeout` if it may be silent for longer)"
        ))
    }

    /// The end of a guest that sent more than `most` bytes.
    pub fn overran(most: u64) -> Self {
        Self::Trap(sent_more(most))
    }

    /// What the log says of it, and how loudly.
    pub fn report(&self) -> (Level, Cow<'static, str>) {
        match self {
            Self::Exit(0) => (Level::Info, "served".into()),
            Self::Exit(code) => (Level::Warning, format!("failed with exit code {code}").into()),
            Self::Trap(why) => (Level::Error, format!("ended: {why}").into()),
        }
    }
}

/// What is said of a guest that met its `max-output`.
pub fn sent_more(most: u64) -> String {
    format!("sent more than {most} bytes (raise `max-output` if it may)")
}

/// What is said of a guest that met its `timeout`.
pub fn took_longer(limit: Duration) -> String {
    format!("took longer than {limit:?} (raise `timeout` if it needs more)")
}

/// The CPU time it was allowed is used up.
#[derive(Debug, thiserror::Error)]
#[error("used more than {limit:?} of CPU time (raise `cpu-time` if it needs more)")]
struct CpuTimeExceeded {
    limit: Duration,
}

/// Runs `program` until it ends. Dropping the future ends the guest.
///
/// `cpu_time` is all it may use in its life; `meter` tells how much that was.
pub fn run(
    engines: &Engines,
    program: Arc<Program>,
    mut state: State,
    cpu_time: Option<Duration>,
    meter: Arc<Meter>,
) -> impl Future<Output = End> + Send + use<> {
    let (watched, engines) = (meter.clone(), engines.clone());
    let guest = async move {
        let (guest, place) = program.guest(&engines);
        state.place = place;
        let mut store = store(guest.engine(), state, &watched, move || cpu_time);
        let result = call(&guest, &mut store).await;
        end_of(result, &store)
    };
    take_turns(Metered::new(guest, meter.clone()), meter)
}

/// A store whose guest is watched: its memory, and by `meter` its CPU time, of which it may use
/// `limit`.
pub fn store(
    engine: &Engine,
    state: State,
    meter: &Arc<Meter>,
    limit: impl Fn() -> Option<Duration> + Send + Sync + 'static,
) -> Store<State> {
    // What the host copies for one call is no more than the guest can have.
    let memory = usize::try_from(state.context.who.config.limits.memory).unwrap_or(usize::MAX);
    let mut store = Store::new(engine, state);
    store.limiter(|state| &mut state.budget);
    store.set_hostcall_fuel(memory.min(store.hostcall_fuel()));
    store.set_max_component_handles((memory / handles::HANDLE).min(handles::MOST));
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

/// Polls the guest here until it turns out, or is known, to be one that computes, and lets it go on among its
/// like from then on.
pub async fn take_turns<F>(mut guest: Metered<F>, meter: Arc<Meter>) -> End
where
    F: Future<Output = End> + Send + 'static,
{
    let here = poll_fn(|context| {
        if meter.is_long_running() {
            return Poll::Ready(None);
        }
        match poll(&mut guest, context, &meter) {
            Poll::Ready(end) => Poll::Ready(Some(end)),
            Poll::Pending if meter.is_long_running() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    });
    if let Some(end) = here.await {
        return end;
    }
    let turns = poll_fn(move |context| {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        match NO_MORE_TURNS.load(SeqCst) {
            false => poll(&mut guest, context, &meter),
            // Until it is dropped.
            true => Poll::Pending,
        }
    });
    // A set of one, because it takes its task with it when it is dropped.
    let mut elsewhere = JoinSet::new();
    elsewhere.spawn_on(turns, &long_running());
    match elsewhere.join_next().await {
        Some(Ok(end)) => end,
        _ => End::Trap("the thread it ran in is gone".into()),
    }
}

/// Polls the guest, and ends it when it has used up its CPU time: while it waits for the host to do something for
/// it, it is not interrupted.
fn poll<F: Future<Output = End>>(guest: &mut Metered<F>, context: &mut Context<'_>, meter: &Meter) -> Poll<End> {
    if let Poll::Ready(end) = Pin::new(guest).poll(context) {
        return Poll::Ready(end);
    }
    match meter.exceeded() {
        Some(limit) => Poll::Ready(End::Trap(CpuTimeExceeded { limit }.to_string())),
        None => Poll::Pending,
    }
}

/// Held while a guest that computes has its turn.
static TURN: Mutex<()> = Mutex::new(());
static NO_MORE_TURNS: AtomicBool = AtomicBool::new(false);

/// How long the end of a turn is waited for. A guest gives way sooner, a file system may not.
const LAST_TURN: Duration = Duration::from_secs(1);

/// How often it is looked for.
const CLOSE_LOOK: Duration = Duration::from_micros(100);

/// Gives guests that compute no more turns. Called before event loops are shut down: a guest may have
/// begun in one of them, and its timers, which belong to that, panic after it.
pub fn stop_turns() {
    NO_MORE_TURNS.store(true, SeqCst);
    let deadline = Instant::now() + LAST_TURN;
    while matches!(TURN.try_lock(), Err(TryLockError::WouldBlock)) && Instant::now() < deadline {
        sleep(CLOSE_LOOK);
    }
}

/// The thread of the guests that compute, started for the first of them. Where no thread can be had
/// (a limit of the service), they stay among the others.
fn long_running() -> Handle {
    static THREAD: OnceLock<Option<Handle>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let run = move || {
            heap::keep_blocks();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                // Each turn is long here: who was woken meanwhile comes next, not after many.
                .global_queue_interval(1)
                .event_interval(1)
                .on_thread_park(journal::flush)
                .build();
            if let Ok(runtime) = runtime
                && sender.send(runtime.handle().clone()).is_ok()
            {
                runtime.block_on(std::future::pending::<()>());
            }
        };
        let thread = std::thread::Builder::new().name("long-running".into());
        thread.spawn(run).ok()?;
        receiver.recv().ok()
    });
    thread.clone().unwrap_or_else(Handle::current)
}

/// Instantiates the program and calls what it exports. A code other than 0 may come as an error,
/// too ([`I32Exit`]).
async fn call(guest: &Guest, mut store: &mut Store<State>) -> wasmtime::Result<i32> {
    match guest {
        Guest::Core(pre) => {
            let instance = pre.instantiate_async(&mut store).await?;
            trace::pass(Mark::Instantiate);
            let start = instance.get_typed_func::<(), ()>(&mut store, "_start")?;
            start.call_async(&mut store, ()).await?;
            Ok(0)
        }
        Guest::Command(pre) => {
            let command = pre.instantiate_async(&mut store).await?;
            trace::pass(Mark::Instantiate);
            let outcome = command.wasi_cli_run().call_run(&mut store).await?;
            Ok(i32::from(outcome.is_err()))
        }
        Guest::AsyncCommand(pre) => {
            let command = pre.instantiate_async(&mut store).await?;
            trace::pass(Mark::Instantiate);
            let run = async |accessor: &Accessor<State>| {
                let outcome = command.wasi_cli_run().call_run(accessor).await?;
                // It may go on after it has said how it went.
                poll_fn(|context| accessor.poll_no_interesting_tasks(context)).await;
                Ok(i32::from(outcome.is_err()))
            };
            store.run_concurrent(run).await?
        }
        Guest::Proxy(_) | Guest::Service(_) => {
            wasmtime::bail!("it answers HTTP requests, and was given bytes")
        }
    }
}

/// How a guest ended whose call came to `result`.
pub fn end_of(result: wasmtime::Result<i32>, store: &Store<State>) -> End {
    let error = match result {
        Ok(code) => return End::Exit(code),
        Err(error) => error,
    };
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return End::Exit(*code);
    }
    if let Some(exceeded) = error.downcast_ref::<CpuTimeExceeded>() {
        return End::Trap(exceeded.to_string());
    }
    if let Some(refused) = error.downcast_ref::<Refused>() {
        return End::Trap(refused.to_string());
    }
    let mut why = describe(&error);
    // As many handles as its memory is enough for: the clock may not have come to count them.
    let ran_out_of_handles =
        why.contains("store handle limit exceeded") && store.max_component_handles() < handles::MOST;
    if ran_out_of_handles {
        why = format!("{}: {why}", Refused::Memory);
    } else if let Some(refused) = store.data().budget.refused {
        why = format!("{refused}: {why}");
    } else if let Some(Trap::StackOverflow) = error.downcast_ref() {
        why = format!("ran out of stack (raise `stack` in [host] if it needs more): {why}");
    }
    End::Trap(why)
}

/// The functions of a backtrace that are worth a place in the log line.
const FRAMES: usize = 4;

/// What is shown of a guest's words, and of the name of one of its functions, in bytes.
pub const WORDS: usize = 500;
const NAME: usize = 100;

/// What went wrong, and where in the guest, in one line.
pub fn describe(error: &wasmtime::Error) -> String {
    let why = journal::shortened(error.root_cause(), WORDS);
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return why;
    };
    let name = |frame: &FrameInfo| match frame.func_name() {
        Some(name) => journal::shortened(name, NAME),
        None => format!("function {}", frame.func_index()),
    };
    let frames: Vec<String> = backtrace.frames().iter().take(FRAMES).map(name).collect();
    match frames.len() {
        0 => why,
        _ => format!("{why}, in {}", frames.join(" called by ")),
    }
}
