//! Preemption: guests that compute (long-running, CPU-bound) share a second thread by time slices, so that guests
//! that answer quickly never wait for them.
//!
//! ```text
//!   thread of the connection              thread "long-running"
//!   ------------------------              ---------------------
//!   poll the guest  --- it ends -------------------------------------> End
//!     |       ^
//!     |       +--- it waits, and is brief (limits/cpu.rs)
//!     |
//!     +--- it computes, or is likely to --> poll the guest, holding POLLING --- it ends ---> End
//!     |                                       |        ^
//!     |                                       +--------+ it waits, or was interrupted: the next guest is polled
//!     |
//!     +--- more CPU time than it may use (here and there) ------------> End::Trap
//! ```
//!
//! A guest never returns to the first thread. When the host exits, [`stop_turns`] keeps the second thread from
//! polling any guest again: the guest's timers may belong to an event loop that is about to be shut down, and panic
//! after that.

use super::outcome::{Cause, CpuTimeExceeded, GuestEnd};
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

/// Runs a guest to its end: in this thread as long as it is brief, and in the second thread once it computes or is
/// likely to.
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
    let slices = poll_fn(move |context| {
        let _guard = lock(&POLLING);
        match IS_STOPPED.load(SeqCst) {
            false => poll(&mut guest, context, &meter),
            // Stays pending until the task is dropped.
            true => Poll::Pending,
        }
    });
    // A set of one task, because a `JoinSet` aborts its tasks on drop.
    let mut elsewhere = JoinSet::new();
    elsewhere.spawn_on(slices, &long_running());
    match elsewhere.join_next().await {
        Some(Ok(end)) => end,
        _ => GuestEnd::Trap(Cause::trap("the thread it ran in is gone")),
    }
}

/// Polls the guest, and ends it when it has used up its CPU time. (The timer does not interrupt it during a host
/// call.)
fn poll<F: Future<Output = GuestEnd>>(
    guest: &mut Metered<F>,
    context: &mut Context<'_>,
    meter: &Meter,
) -> Poll<GuestEnd> {
    if let Poll::Ready(end) = Pin::new(guest).poll(context) {
        return Poll::Ready(end);
    }
    match meter.exceeded() {
        Some(limit) => Poll::Ready(CpuTimeExceeded { limit }.into()),
        None => Poll::Pending,
    }
}

/// Held while the second thread polls a guest.
static POLLING: Mutex<()> = Mutex::new(());
static IS_STOPPED: AtomicBool = AtomicBool::new(false);

/// How long [`stop_turns`] waits for the guest that is being polled. A guest is interrupted sooner; a file system
/// call may take longer.
const MAX_WAIT: Duration = Duration::from_secs(1);

/// Interval at which [`stop_turns`] checks for that.
const POLL_INTERVAL: Duration = Duration::from_micros(100);

/// Makes the second thread poll no more guests. Called before event loops are shut down.
pub fn stop_turns() {
    IS_STOPPED.store(true, SeqCst);
    let deadline = Instant::now() + MAX_WAIT;
    while matches!(POLLING.try_lock(), Err(TryLockError::WouldBlock)) && Instant::now() < deadline {
        sleep(POLL_INTERVAL);
    }
}

/// The event loop of the second thread, which is started for the first guest that computes. Where no thread can be
/// created (a limit of the service), such guests stay in the thread of their connection.
fn long_running() -> Handle {
    static THREAD: OnceLock<Option<Handle>> = OnceLock::new();
    let thread = THREAD.get_or_init(|| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let run = move || {
            heap::keep_blocks();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                // Each poll takes long here, so tasks that were woken meanwhile are checked for after each.
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
        // Installs the handler of the timer signal.
        let engine = Engine::new(&wasm_sock_engine::config(Support::PLAIN)).unwrap();
        let _ticks = start_ticks(&engine);
        let mut slices = slices.iter().copied();
        let guest = poll_fn(move |context| {
            let Some(slice) = slices.next() else {
                let thread = std::thread::current();
                return Poll::Ready(GuestEnd::Trap(Cause::trap(thread.name().unwrap_or_default())));
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
        assert_ne!(thread.why, "long-running");
    }

    #[test]
    fn a_guest_that_computes_goes_on_in_the_other_thread() {
        // By the CPU clock, so that it is long on a busy machine, too.
        assert_eq!(end_of(&[20; 6], None), GuestEnd::Trap(Cause::trap("long-running")));
    }

    #[test]
    fn a_guest_that_waits_after_it_has_used_up_its_cpu_time_is_ended() {
        let limit = Duration::from_millis(10);
        assert_eq!(end_of(&[20; 20], Some(limit)), CpuTimeExceeded { limit }.into());
    }
}
