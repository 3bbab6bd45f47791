//! Preemption: guests that compute take turns in a thread of their own, so that those that only answer never wait
//! for them.
//!
//! ```text
//!   thread of the connection              thread "long-running"
//!   ------------------------              ---------------------
//!   poll the guest  --- it ends -------------------------------------> End
//!     |       ^
//!     |       +--- it waits, and is brief (limits/cpu.rs)
//!     |
//!     +--- it computes, or is likely to --> poll the guest, holding TURN --- it ends ---> End
//!     |                                       |        ^
//!     |                                       +--------+ it waits, or was interrupted: the next has its turn
//!     |
//!     +--- more CPU time than it may use (here and there) ------------> End::Trap
//! ```
//!
//! A guest never goes back. When the host leaves, [`stop_turns`] keeps the second thread from polling any guest again:
//! it may have begun in an event loop that is about to be shut down, and its timers, which belong to that, panic after
//! it.

use super::outcome::{CpuTimeExceeded, GuestEnd};
use crate::journal;
use crate::libc_overrides::heap;
use crate::limits::{Meter, Metered};
use crate::sync::lock;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock, TryLockError};
use std::task::{Context, Poll};
use std::thread::sleep;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::task::JoinSet;

/// Polls the guest in this thread until it turns out, or is known, to be one that computes, and in the other thread
/// from then on.
pub async fn take_turns<F>(mut guest: Metered<F>, meter: Arc<Meter>) -> GuestEnd
where
    F: Future<Output = GuestEnd> + Send + 'static,
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
        let _turn = lock(&TURN);
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
        _ => GuestEnd::Trap("the thread it ran in is gone".into()),
    }
}

/// Polls the guest, and ends it when it has used up its CPU time: while it waits for the host to do something for
/// it, it is not interrupted.
fn poll<F: Future<Output = GuestEnd>>(
    guest: &mut Metered<F>,
    context: &mut Context<'_>,
    meter: &Meter,
) -> Poll<GuestEnd> {
    if let Poll::Ready(end) = Pin::new(guest).poll(context) {
        return Poll::Ready(end);
    }
    match meter.exceeded() {
        Some(limit) => Poll::Ready(GuestEnd::Trap(CpuTimeExceeded { limit }.to_string())),
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

/// Gives guests that compute no more turns. Called before event loops are shut down.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::start_ticks;
    use std::hint;
    use wasm_sock_engine::{InstanceCost, Support};
    use wasmtime::Engine;

    /// How a future ends that takes these slices of CPU time, one a poll, with this limit.
    fn end_of(slices: &'static [u64], limit: Option<Duration>) -> GuestEnd {
        // Handles the signal of the clock.
        let engine = Engine::new(&wasm_sock_engine::config(Support::PLAIN)).unwrap();
        let _ticks = start_ticks(&engine);
        let mut slices = slices.iter().copied();
        let guest = poll_fn(move |context| {
            let Some(slice) = slices.next() else {
                let thread = std::thread::current();
                return Poll::Ready(GuestEnd::Trap(thread.name().unwrap_or_default().to_owned()));
            };
            let until = Instant::now() + Duration::from_millis(slice);
            while Instant::now() < until {
                hint::spin_loop();
            }
            context.waker().wake_by_ref();
            Poll::Pending
        });
        let meter = Meter::new(Arc::default(), InstanceCost::default());
        meter.bound(move || limit);
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(take_turns(Metered::new(guest, meter.clone()), meter))
    }

    #[test]
    fn a_guest_that_answers_ends_in_the_thread_where_it_began() {
        let GuestEnd::Trap(thread) = end_of(&[0, 0, 0], None) else {
            panic!()
        };
        assert_ne!(thread, "long-running");
    }

    #[test]
    fn a_guest_that_computes_goes_on_in_the_other_thread() {
        // By the CPU clock, so that it is long on a busy machine, too.
        assert_eq!(end_of(&[20; 6], None), GuestEnd::Trap("long-running".into()));
    }

    #[test]
    fn a_guest_that_waits_after_it_has_used_up_its_cpu_time_is_ended() {
        let limit = Duration::from_millis(10);
        let expected = CpuTimeExceeded { limit }.to_string();
        assert_eq!(end_of(&[20; 20], Some(limit)), GuestEnd::Trap(expected));
    }
}
