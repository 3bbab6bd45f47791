//! One socket of datagrams: each that comes is one run of the guest, and what the guest writes goes
//! back as one datagram, from the address that the first was sent to.

mod socket;

use super::admission::admit::{AcceptWarnings, Admitted, BACK_OFF, admit, try_admit};
use super::admission::sources::TooMany;
use super::handler::Handler;
use super::shared::Shared;
use crate::journal::{self, Level, ShortDuration};
use crate::lifecycle::InFlight;
use crate::limits::Meter;
use crate::net::{Datagram, Peer, Stdio};
use crate::runtime::{self, GuestEnd};
use crate::sync::lock;
use crate::wasi;
use futures::FutureExt;
use socket::{DatagramSocket, Received};
use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;
use std::{fmt, future, io};
use tokio::sync::Notify;
use tokio::task::coop::consume_budget;
use tokio::time::{sleep, timeout};

/// Datagrams that are received before the first of them is served. All of them are begun before
/// anything else has its turn.
const BATCH: usize = 16;

/// Datagrams of a batch that are worth another thread's while.
const MIN_SHARED_BATCH: usize = 3;

/// A socket, and the datagrams that have come and are to be served.
pub struct DatagramQueue {
    socket: DatagramSocket,
    /// What was received, for whichever thread comes first. Only the first thread receives: what is
    /// in flight is known where the host decides to leave.
    batch: Mutex<VecDeque<QueuedDatagram>>,
    /// Tells the other threads of a batch.
    batch_ready: Notify,
}

/// A datagram that is to be served, with its place.
struct QueuedDatagram {
    received: Received,
    peer: Peer,
    admitted: Admitted,
    in_flight: InFlight,
}

impl DatagramQueue {
    /// # Errors
    /// When the socket cannot be prepared, or the event loop does not take it.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: DatagramSocket::new(fd)?,
            batch: Mutex::default(),
            batch_ready: Notify::new(),
        })
    }

    /// Receives datagrams for ever, and runs at most `max-connections` guests of the handler at a
    /// time. What is beyond that waits in the kernel, and so does what comes after this is dropped.
    pub async fn receive_all(self, shared: Arc<Shared>, handler: Arc<Handler>) {
        let queue = Arc::new(self);
        let mut warnings = AcceptWarnings::default();
        let mut buffer = vec![0; handler.config.limits.max_datagram as usize];
        let mut is_assisted = false;
        loop {
            // Guests that answer at once never let the others have their turn.
            consume_budget().await;
            let at_once = future::ready(());
            let Some(admitted) = admit(&shared, &handler, &mut warnings, at_once).await else {
                return;
            };
            // From here on nothing waits: whoever drops this loses no datagram.
            let received = queue.receive_batch(&shared, &handler, admitted, &mut buffer);
            let size = queue.batch().len();
            if size > MIN_SHARED_BATCH {
                if !is_assisted {
                    is_assisted = true;
                    let assist = || queue.clone().assist(shared.clone(), handler.clone());
                    shared.threads.spawn_in_others(assist);
                }
                queue.batch_ready.notify_waiters();
            }
            queue.serve_batch(&shared, &handler);
            match received {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    queue.socket.readable().await;
                }
                Err(e) if is_passing(&e) => {}
                Err(error) => {
                    warnings.report(&handler, &error);
                    sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Receives what there is, as far as there are admitted for it beyond the first.
    fn receive_batch(
        &self,
        shared: &Arc<Shared>,
        handler: &Handler,
        first: Admitted,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let mut admitted = Some(first);
        for _ in 0..BATCH {
            let Some(mut admitted) = admitted.take().or_else(|| try_admit(shared, handler)) else {
                return Ok(());
            };
            let received = self.socket.try_receive(buffer)?;
            let peer = self.socket.peer(&received.sender);
            match handler.sources.admit(peer.address()) {
                Ok(counted) => admitted.counted = Some(counted),
                Err(TooMany(most)) => {
                    let message = format_args!(
                        "dropped: it has {most} datagrams that are being answered (raise `max-connections-per-source` if it may have more)"
                    );
                    let guest = format_args!("{} {peer}", handler.name);
                    handler.sources.refusals.warn(guest, message);
                    continue;
                }
            }
            let in_flight = shared.activity.begin();
            self.batch().push_back(QueuedDatagram {
                received,
                peer,
                admitted,
                in_flight,
            });
        }
        Ok(())
    }

    /// Serves what is in the batch, together with whoever else does.
    fn serve_batch(self: &Arc<Self>, shared: &Arc<Shared>, handler: &Arc<Handler>) {
        // The lock is free while a guest runs.
        let next = || self.batch().pop_front();
        while let Some(datagram) = next() {
            let (queue, shared, handler) = (self.clone(), shared.clone(), handler.clone());
            let mut serve = Box::pin(async move {
                queue.serve(&shared, &handler, datagram.received, datagram.peer).await;
                drop((datagram.admitted, datagram.in_flight));
            });
            // Most guests answer at once, and need no task of their own.
            if serve.as_mut().now_or_never().is_none() {
                tokio::spawn(serve);
            }
        }
    }

    /// Serves batches that are too much for one thread, in another.
    async fn assist(self: Arc<Self>, shared: Arc<Shared>, handler: Arc<Handler>) {
        loop {
            let batch_ready = self.batch_ready.notified();
            self.serve_batch(&shared, &handler);
            batch_ready.await;
        }
    }

    fn batch(&self) -> MutexGuard<'_, VecDeque<QueuedDatagram>> {
        lock(&self.batch)
    }

    /// Runs the guest for one datagram, and sends its answer.
    async fn serve(&self, shared: &Shared, handler: &Handler, received: Received, peer: Peer) {
        let Received { bytes, whole, sender } = received;
        let log = |level, message: fmt::Arguments<'_>| {
            journal::log_connection(level, &handler.name, &peer, message);
        };
        if !whole {
            let most = handler.config.limits.max_datagram;
            let message = format_args!("dropped: it has more than {most} bytes (raise `max-datagram` if it may)");
            return handler.too_large.warn(format_args!("{} {peer}", handler.name), message);
        }
        let Ok(program) = handler.program(&shared.engines, Some(&shared.compiled)).await else {
            return;
        };
        if program.is_http() {
            let why = "an HTTP guest cannot answer datagrams (use ListenStream= in the .socket unit)";
            return handler.report_unfit(why).await;
        }
        let (began, size) = (Instant::now(), bytes.len());
        let guest = handler.guest_context(Some(peer.clone()));
        let meter = Meter::new(guest.history.clone(), program.cost);
        let datagram = Arc::new(Datagram::new(bytes, handler.config.limits.max_output));
        let stdio = Stdio::Datagram(datagram.clone());
        let end = match wasi::state(guest, program.cost, Some(stdio)) {
            Err(error) => GuestEnd::Trap(error.to_string()),
            Ok(state) => {
                let limits = handler.config.limits;
                let guest = runtime::run(&shared.engines, program, state, limits.cpu_time, meter.clone());
                match limits.timeout {
                    Some(limit) => timeout(limit, guest)
                        .await
                        .unwrap_or_else(|_| GuestEnd::timed_out(limit)),
                    None => guest.await,
                }
            }
        };
        let sent = match (&end, datagram.answer()) {
            (GuestEnd::Trap(_), _) => 0,
            (GuestEnd::Exit(_), Ok(answer)) => match self.socket.reply(&answer, &sender).await {
                Ok(sent) => sent,
                Err(why) => {
                    return log(Level::Warning, format_args!("its answer was not sent: {why}"));
                }
            },
            (GuestEnd::Exit(_), Err(too_long)) => {
                return log(Level::Warning, format_args!("its answer was not sent: {too_long}"));
            }
        };
        let (level, what) = end.report();
        let (took, cpu) = (ShortDuration(began.elapsed()), ShortDuration(meter.used()));
        log(
            level,
            format_args!("{what} ({took}, cpu {cpu}, {size} bytes in, {sent} out)"),
        );
    }
}

/// Is it an error that an earlier answer met on its way, told here (`udp(7)`), or none at all?
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}
