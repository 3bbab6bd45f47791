//! Serves a byte-stream connection: one guest runs with the connection as standard input and output; when it exits, the
//! connection is closed, with a lingering close; when it traps or is ended, the connection is reset.

use super::handler::Handler;
use super::record::{End, LogLine, Unrecorded};
use super::shared::Shared;
use crate::config::Limits;
use crate::limits::Meter;
use crate::net::{Connection, Stdio};
use crate::runtime::{self, GuestEnd, Program};
use crate::wasi;
use std::future;
use std::mem;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::task::yield_now;
use tokio::time::{sleep, timeout};

/// Lingering-close timeout: how long unread input is drained before `close(2)`.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// How often a half-closed connection is checked for whether the client still exists.
const HANGUP_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// How a connection ended.
enum StreamOutcome {
    Guest(GuestEnd),
    /// The client left before the guest ended.
    Vanished,
}

/// Serves one connection, from its acceptance to its end. `guard` resets it unless the guest exits by itself;
/// `unrecorded` writes its record.
pub async fn serve(
    host: &Shared,
    handler: &Handler,
    program: Arc<Program>,
    connection: &Arc<Connection>,
    guard: ResetOnDrop<'_>,
    mut unrecorded: Unrecorded<'_>,
) {
    let guest = handler.guest_context(Some((unrecorded.peer.clone(), connection.id)), None);
    let meter = Meter::new(guest.history.clone(), program.cost);
    unrecorded.meter = Some(meter.clone());
    let stdio = Stdio::Connection(connection.clone());
    let outcome = match wasi::state(guest, program.cost, Some(stdio)) {
        Err(error) => StreamOutcome::Guest(GuestEnd::Trap(error.into())),
        Ok(state) => {
            let limits = handler.config.limits;
            connection.limit_output(limits.max_output.unwrap_or(u64::MAX));
            let guest = runtime::run(&host.engines, program, state, limits.cpu_time, meter.clone());
            within(&limits, Box::pin(guest), connection).await
        }
    };
    let end = match &outcome {
        StreamOutcome::Guest(end) => end.into(),
        StreamOutcome::Vanished => End::client_left(),
    };
    unrecorded.write(end, LogLine::Each);
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

/// Runs the guest until it ends, one of its limits is reached (`timeout`, `max-output`, `idle-connection-timeout`), or
/// the client has left.
async fn within(
    limits: &Limits,
    guest: Pin<Box<impl Future<Output = GuestEnd>>>,
    connection: &Connection,
) -> StreamOutcome {
    let overran = || GuestEnd::overran(limits.max_output.unwrap_or(u64::MAX));
    let whole = async {
        let end = guest.await;
        match end {
            // Also when the guest handled the error that it got for its output.
            _ if connection.has_overrun() => return StreamOutcome::Guest(overran()),
            GuestEnd::Exit(0) => {}
            // A guest that cannot read or write because the client has left exits with an error, or traps.
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
        // In this order: for a guest that answers at once, no timer is set and the client is not watched.
        biased;
        outcome = whole => outcome,
        () = vanished(connection) => StreamOutcome::Vanished,
        () = time_is_up => StreamOutcome::Guest(GuestEnd::timed_out(limits.timeout.unwrap_or_default())),
        () = connection.overrun(), if limits.max_output.is_some() => StreamOutcome::Guest(overran()),
        limit = silent(limits, connection) => StreamOutcome::Guest(GuestEnd::silent(limit)),
    }
}

/// In how many parts `idle-connection-timeout` is checked: a connection without a byte in all of them is silent.
const SILENCE_CHECKS: u32 = 4;

/// Waits until no byte was received or sent for `idle-connection-timeout`, or up to a quarter longer: polling a byte
/// counter is cheaper than reading the clock for each byte. Returns the timeout.
async fn silent(limits: &Limits, connection: &Connection) -> Duration {
    let Some(limit) = limits.silence() else {
        return future::pending().await;
    };
    let mut moved = connection.moved();
    let mut checks = 0;
    while checks < SILENCE_CHECKS {
        sleep(limit / SILENCE_CHECKS).await;
        let now = connection.moved();
        checks = if now == moved { checks + 1 } else { 0 };
        moved = now;
    }
    limit
}

/// Waits until the client can no longer be reached: it reset the connection, or (Unix) closed it.
///
/// A TCP client that closes looks like one that will only send no more (half-close): that it has left is known when it
/// answers the next bytes with a reset.
pub async fn vanished(connection: &Connection) {
    // The end of the client's sending (which PRIORITY includes), or an error.
    let ended = Interest::PRIORITY.add(Interest::ERROR);
    loop {
        if connection.wait(ended).await.is_err() || connection.is_hung_up() {
            return;
        }
        // The client is half-closed, and may still read: only an error tells that it has left.
        let _ = timeout(HANGUP_CHECK_INTERVAL, connection.wait(Interest::ERROR)).await;
        if connection.is_hung_up() {
            return;
        }
        // The end of input stays ready: without the pause this loop would be busy.
        sleep(HANGUP_CHECK_INTERVAL).await;
    }
}

/// Lingering close, so that the client gets the whole answer: `close(2)` with unread input resets the connection, which
/// may destroy what the client has not read. So writing is shut down, and input is read and discarded until the client
/// closes, for [`LINGER_TIMEOUT`] at most.
pub async fn linger(connection: &Connection) {
    // Always: close(2) alone does not end the connection while another process (a super-server) has a copy of the
    // descriptor.
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
            // A client that keeps sending must not keep other tasks from running.
            yield_now().await;
        }
    };
    let _ = timeout(LINGER_TIMEOUT, drain).await;
}
