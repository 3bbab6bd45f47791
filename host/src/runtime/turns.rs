//! Preemption: guests that compute take turns in a thread of their own, so that those that only answer never wait
//! for them.

use super::outcome::{CpuTimeExceeded, End};
use crate::allocator;
use crate::journal;
use crate::limits::{Meter, Metered};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, TryLockError};
use std::task::{Context, Poll};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

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
            allocator::keep_blocks();
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
