//! One connection of a stream socket: a guest runs, and the connection ends as the guest did.

use super::handler::Handler;
use super::shared::Shared;
use crate::config::Limits;
use crate::journal::{self, Level, ShortDuration};
use crate::limits::Meter;
use crate::net::{Connection, Peer, Stdio};
use crate::runtime::{self, GuestEnd, Program};
use crate::wasi;
use std::future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

/// How long a client may go on sending after its guest has answered and left, before the connection
/// is closed over its words.
const LINGER: Duration = Duration::from_secs(2);

/// How often a client that will send no more is asked whether it is still there.
const PRESENCE: Duration = Duration::from_secs(1);

/// How a connection ended.
enum StreamOutcome {
    Guest(GuestEnd),
    /// The client left before the guest did.
    Vanished,
}

/// Serves one connection, from its acceptance to its end. `guard` resets it unless the guest exits by itself.
pub async fn serve(
    host: &Shared,
    handler: &Handler,
    program: Arc<Program>,
    connection: &Arc<Connection>,
    guard: ResetOnDrop<'_>,
    peer: Peer,
) {
    let began = Instant::now();
    let guest = handler.guest_context(Some(peer.clone()));
    let meter = Meter::new(guest.history.clone(), program.cost);
    let stdio = Stdio::Connection(connection.clone());
    let outcome = match wasi::state(guest, program.cost, Some(stdio)) {
        Err(error) => StreamOutcome::Guest(GuestEnd::Trap(error.to_string())),
        Ok(state) => {
            let limits = handler.config.limits;
            connection.limit_output(limits.max_output.unwrap_or(u64::MAX));
            let guest = runtime::run(&host.engines, program, state, limits.cpu_time, meter.clone());
            within(&limits, Box::pin(guest), connection).await
        }
    };
    record(
        handler,
        &peer,
        connection,
        &outcome,
        ShortDuration(began.elapsed()),
        ShortDuration(meter.used()),
    );
    if let StreamOutcome::Guest(GuestEnd::Exit(_)) = outcome {
        guard.disarm();
        linger(connection).await;
    }
}

/// Resets a connection when dropped: the default end, so that one whose task is dropped (the host's drain timeout,
/// a shutdown during the module's load) does not look like a complete answer. [`Self::disarm`] after a complete one.
#[must_use = "dropping it resets the connection"]
pub struct ResetOnDrop<'a>(&'a Connection);

impl<'a> ResetOnDrop<'a> {
    pub fn new(connection: &'a Connection) -> Self {
        Self(connection)
    }

    /// Lets the connection close normally.
    pub fn disarm(self) {
        mem::forget(self);
    }
}

impl Drop for ResetOnDrop<'_> {
    fn drop(&mut self) {
        self.0.reset();
    }
}

/// Lets the guest run until it ends, its time is up, or its client is gone or silent.
async fn within(
    limits: &Limits,
    guest: Pin<Box<impl Future<Output = GuestEnd>>>,
    connection: &Connection,
) -> StreamOutcome {
    let overran = || GuestEnd::overran(limits.max_output.unwrap_or(u64::MAX));
    let whole = async {
        let end = guest.await;
        match end {
            // Whatever the guest made of it that it could send no more.
            _ if connection.has_overrun() => return StreamOutcome::Guest(overran()),
            GuestEnd::Exit(0) => {}
            // Whoever cannot read from or write to a client that has gone says that it failed.
            _ if connection.is_hung_up() => return StreamOutcome::Vanished,
            GuestEnd::Trap(_) => return StreamOutcome::Guest(end),
            GuestEnd::Exit(_) => {}
        }
        match connection.flush().await {
            Ok(()) => StreamOutcome::Guest(end),
            Err(_) => StreamOutcome::Vanished,
        }
    };
    let time_is_up = async {
        match limits.timeout {
            Some(limit) => sleep(limit).await,
            None => future::pending().await,
        }
    };
    tokio::select! {
        // In this order: a guest that answers at once needs neither clock nor watch.
        biased;
        outcome = whole => outcome,
        () = vanished(connection) => StreamOutcome::Vanished,
        () = time_is_up => StreamOutcome::Guest(GuestEnd::timed_out(limits.timeout.unwrap_or_default())),
        () = connection.overrun(), if limits.max_output.is_some() => StreamOutcome::Guest(overran()),
        limit = silent(limits, connection) => StreamOutcome::Guest(GuestEnd::silent(limit)),
    }
}

/// How often a connection is looked at before it is taken to be silent.
const LOOKS: u32 = 4;

/// Waits until no byte has come or gone for `idle-connection-timeout`, or a quarter of it longer:
/// looking now and then is cheaper than to note the time with each byte.
async fn silent(limits: &Limits, connection: &Connection) -> Duration {
    let Some(limit) = limits.silence() else {
        return future::pending().await;
    };
    let mut moved = connection.moved();
    let mut looks = 0;
    while looks < LOOKS {
        sleep(limit / LOOKS).await;
        let now = connection.moved();
        looks = if now == moved { looks + 1 } else { 0 };
        moved = now;
    }
    limit
}

/// Waits until the client can no longer be reached: it reset the connection, or (Unix) closed it.
///
/// A TCP client that only closes looks like one that will send no more (half-close): it is found
/// out by the reset that answers the next bytes sent to it.
pub async fn vanished(connection: &Connection) {
    // The end of the client's sending (which PRIORITY includes), or an error.
    let ended = Interest::PRIORITY.add(Interest::ERROR);
    loop {
        if connection.wait(ended).await.is_err() || connection.is_hung_up() {
            return;
        }
        // It will send no more, but may still read: nothing announces that it leaves altogether,
        // unless an error does.
        let _ = timeout(PRESENCE, connection.wait(Interest::ERROR)).await;
        if connection.is_hung_up() {
            return;
        }
        // What was announced stays so: without a rest this would be asked all the time.
        sleep(PRESENCE).await;
    }
}

/// Closes so that the answer arrives whole: a socket that is closed with unread input in it resets
/// the connection, which may overtake the answer. So the input is read, and ignored, for a while.
pub async fn linger(connection: &Connection) {
    // First of all, and always: whoever else has a copy of the descriptor (a super-server) keeps it open.
    connection.shut_down_writing();
    connection.take_over_reading();
    if connection.is_read_to_its_end() {
        return;
    }
    // On the heap, because it would be part of every connection's task.
    let mut ignored = vec![0; 4096];
    let drain = async {
        while let Ok(count) = connection.recv(&mut ignored).await {
            if count == 0 && connection.has_ended() {
                return;
            }
            // Whatever a client sends that nobody reads, others come first.
            yield_now().await;
        }
    };
    let _ = timeout(LINGER, drain).await;
}

/// One line for each connection.
fn record(
    handler: &Handler,
    peer: &Peer,
    connection: &Connection,
    outcome: &StreamOutcome,
    took: ShortDuration,
    cpu: ShortDuration,
) {
    let (level, what) = match outcome {
        StreamOutcome::Guest(end) => end.report(),
        StreamOutcome::Vanished => (Level::Info, "client left".into()),
    };
    let (received, sent) = (connection.received.load(Relaxed), connection.sent.load(Relaxed));
    let message = format_args!("{what} ({took}, cpu {cpu}, {received} bytes in, {sent} out)");
    journal::log_connection(level, &handler.name, peer, message);
}
