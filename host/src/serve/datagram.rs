//! Serves a datagram socket (UDP or Unix): the guest runs once for each datagram, and its output is sent back as one
//! datagram, from the address that the request was sent to.

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

/// The most datagrams that are received before the first of them is served. Their guests are all started before other
/// tasks of the thread run.
const MAX_BATCH: usize = 16;

/// A batch with more datagrams than this is shared with other threads.
const MAX_UNSHARED_BATCH: usize = 3;

/// A datagram socket, and the queue of datagrams that were received and not served yet.
pub struct DatagramQueue {
    socket: DatagramSocket,
    /// Datagrams that were received, for the first thread that is free. Only the main thread receives: it also decides
    /// when the host exits, and so knows of all that is in flight.
    batch: Mutex<VecDeque<QueuedDatagram>>,
    /// Wakes the other threads when there is a batch to share.
    batch_ready: Notify,
}

/// A datagram that is to be served, with its connection slot.
struct QueuedDatagram {
    handler: Arc<Handler>,
    received: Received,
    peer: Peer,
    admitted: Admitted,
    in_flight: InFlight,
}

impl DatagramQueue {
    /// Prepares the socket and registers it with the event loop.
    ///
    /// # Errors
    /// Those of [`DatagramSocket::new`].
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            socket: DatagramSocket::new(fd)?,
            batch: Mutex::default(),
            batch_ready: Notify::new(),
        })
    }

    /// Receives datagrams and serves them, at most `max-connections` of the handler at a time. More of them stay in the
    /// socket's receive buffer, as do all that arrive after this future was dropped. Does not return.
    pub async fn receive_all(self, shared: Arc<Shared>, mut handler: Arc<Handler>) {
        let queue = Arc::new(self);
        let mut warnings = AcceptWarnings::default();
        let mut buffer = vec![0; handler.config.limits.max_datagram as usize];
        let mut is_assisted = false;
        loop {
            // Guests that answer at once never yield: without this, other tasks would not run.
            consume_budget().await;
            let at_once = future::ready(());
            let Some(admitted) = admit(&shared, &handler, &mut warnings, at_once).await else {
                return;
            };
            if handler.is_replaced() {
                Handler::update(&mut handler);
                buffer.resize(handler.config.limits.max_datagram as usize, 0);
            }
            // There is no `await` until the batch is served: if this future is dropped, no datagram is lost.
            let received = queue.receive_batch(&shared, &handler, admitted, &mut buffer);
            let size = queue.batch().len();
            if size > MAX_UNSHARED_BATCH {
                if !is_assisted {
                    is_assisted = true;
                    let assist = || queue.clone().assist(shared.clone());
                    shared.threads.spawn_in_others(assist);
                }
                queue.batch_ready.notify_waiters();
            }
            queue.serve_batch(&shared);
            match received {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    queue.socket.readable().await;
                }
                Err(e) if is_transient(&e) => {}
                Err(error) => {
                    warnings.report(&handler, &error);
                    sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Receives up to [`MAX_BATCH`] datagrams into the batch, with `first` for the first of them and as long as there
    /// are slots for the others.
    ///
    /// # Errors
    /// Those of `recvmsg(2)`; `WouldBlock` when the socket has no more.
    fn receive_batch(
        &self,
        shared: &Arc<Shared>,
        handler: &Arc<Handler>,
        first: Admitted,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let mut admitted = Some(first);
        for _ in 0..MAX_BATCH {
            let Some(mut admitted) = admitted.take().or_else(|| try_admit(shared, handler)) else {
                return Ok(());
            };
            let received = self.socket.try_receive(buffer)?;
            let peer = self.socket.peer(&received.sender);
            match handler.connection_sources.admit(peer.address()) {
                Ok(counted) => admitted.counted = Some(counted),
                Err(TooMany(most)) => {
                    let message = format_args!(
                        "dropped: it has {most} datagrams that are being answered (raise `max-connections-per-source` if it may have more)"
                    );
                    let subject = format_args!("{} {peer}", handler.name);
                    handler.connection_sources.refusals.warn(subject, message);
                    continue;
                }
            }
            let in_flight = shared.activity.begin();
            self.batch().push_back(QueuedDatagram {
                handler: handler.clone(),
                received,
                peer,
                admitted,
                in_flight,
            });
        }
        Ok(())
    }

    /// Serves the datagrams of the batch, together with the other threads.
    fn serve_batch(self: &Arc<Self>, shared: &Arc<Shared>) {
        // A closure, so that the lock is released before a guest runs.
        let next = || self.batch().pop_front();
        while let Some(datagram) = next() {
            let (queue, shared) = (self.clone(), shared.clone());
            let mut serve = Box::pin(async move {
                let handler = &datagram.handler;
                queue.serve(&shared, handler, datagram.received, datagram.peer).await;
                drop((datagram.admitted, datagram.in_flight));
            });
            // Most guests answer at once, and need no task of their own.
            if serve.as_mut().now_or_never().is_none() {
                tokio::spawn(serve);
            }
        }
    }

    /// The task of another thread: serves datagrams of batches that are shared.
    async fn assist(self: Arc<Self>, shared: Arc<Shared>) {
        loop {
            let batch_ready = self.batch_ready.notified();
            self.serve_batch(&shared);
            batch_ready.await;
        }
    }

    fn batch(&self) -> MutexGuard<'_, VecDeque<QueuedDatagram>> {
        lock(&self.batch)
    }

    /// Runs the guest for one datagram, sends its answer, and logs how it ended.
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

/// Is it the pending error of an answer that was sent before (ICMP; `udp(7)`), or an interruption? The socket still
/// works.
fn is_transient(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}
