//! Serves a datagram socket (UDP or Unix): the guest runs once for each datagram, and its output is sent back as one
//! datagram, from the address that the request was sent to.

mod socket;

use super::admission::admit::{AcceptWarnings, Admitted, BACK_OFF, admit, try_admit};
use super::admission::sources::TooMany;
use super::handler::Handler;
use super::record::{End, LogLine, Record, Usage};
use super::shared::Shared;
use crate::journal::{ConnectionId, Level};
use crate::lifecycle::InFlight;
use crate::limits::Meter;
use crate::net::{Datagram, Peer, Stdio};
use crate::runtime::{self, GuestEnd, Program};
use crate::sync::lock;
use crate::wasi::{self, GuestContext};
use futures::FutureExt;
use socket::{DatagramSocket, Received, Sender};
use std::collections::VecDeque;
use std::fmt::Display;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;
use std::{future, io};
use tokio::sync::Notify;
use tokio::task::coop::consume_budget;
use tokio::time::{sleep, timeout};
use wasm_sock_stats::Outcome;

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
            handler.stats.begin();
            let peer = self.socket.peer(&received.sender);
            match handler.connection_sources.admit(peer.address()) {
                Ok(counted) => admitted.counted = Some(counted),
                Err(TooMany(most)) => {
                    let what = format!(
                        "dropped: it has {most} datagrams that are being answered (raise `max-connections-per-source` if it may have more)"
                    );
                    let end = End::new(Outcome::Refused, Level::Warning, what);
                    let logged = LogLine::Limited(&handler.connection_sources.refusals);
                    record(handler, &peer, end, None).write(logged);
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

    /// Runs the guest for one datagram, sends its answer, and records how it ended.
    async fn serve(&self, shared: &Shared, handler: &Handler, received: Received, peer: Peer) {
        let Received { bytes, whole, sender } = received;
        if !whole {
            let most = handler.config.limits.max_datagram;
            let what = format!("dropped: it has more than {most} bytes (raise `max-datagram` if it may)");
            let end = End::new(Outcome::BadRequest, Level::Warning, what);
            return record(handler, &peer, end, None).write(LogLine::Limited(&handler.too_large));
        }
        // Otherwise the reason is logged, once for all datagrams.
        let unserved = || record(handler, &peer, End::no_module(), None).write(LogLine::None);
        let Ok(program) = handler.program(&shared.engines, Some(&shared.compiled)).await else {
            return unserved();
        };
        if program.is_http() {
            let why = "an HTTP guest cannot answer datagrams (use ListenStream= in the .socket unit)";
            handler.report_unfit(why).await;
            return unserved();
        }
        let (began, size) = (Instant::now(), bytes.len());
        let connection = ConnectionId::next();
        let guest = handler.guest_context(Some((peer.clone(), connection)), None);
        let meter = Meter::new(guest.history.clone(), program.cost);
        let datagram = Arc::new(Datagram::new(bytes, handler.config.limits.max_output));
        let end = answer(shared, handler, program, guest, datagram.clone(), meter.clone()).await;
        let (end, sent) = self.send_answer(&end, &datagram, &sender).await;
        let duration = began.elapsed();
        let usage = Usage {
            bytes_in: size as u64,
            bytes_out: sent as u64,
            duration,
            // It is one packet.
            first_byte: (sent > 0).then_some(duration),
            ..Usage::of(Some(&meter))
        };
        let record = Record {
            connection: Some(connection),
            ..record(handler, &peer, end, Some(usage))
        };
        record.write(LogLine::Each);
    }

    /// Sends the answer of a guest that has exited. Returns how the datagram ended, and how many bytes were sent.
    async fn send_answer(&self, end: &GuestEnd, datagram: &Datagram, sender: &Sender) -> (End, usize) {
        let unsent = |outcome, why: &dyn Display| {
            let what = format!("its answer was not sent: {why}");
            (End::new(outcome, Level::Warning, what), 0)
        };
        match (end, datagram.answer()) {
            (GuestEnd::Trap(_), _) => (end.into(), 0),
            (GuestEnd::Exit(_), Ok(answer)) => match self.socket.reply(&answer, sender).await {
                Ok(sent) => (end.into(), sent),
                Err(why) => unsent(Outcome::ClientLeft, &why),
            },
            (GuestEnd::Exit(_), Err(too_long)) => unsent(Outcome::Output, &too_long),
        }
    }
}

/// Runs the guest for one datagram, within its `timeout`.
async fn answer(
    shared: &Shared,
    handler: &Handler,
    program: Arc<Program>,
    guest: Arc<GuestContext>,
    datagram: Arc<Datagram>,
    meter: Arc<Meter>,
) -> GuestEnd {
    let state = match wasi::state(guest, program.cost, Some(Stdio::Datagram(datagram))) {
        Ok(state) => state,
        Err(error) => return GuestEnd::Trap(error.into()),
    };
    let limits = handler.config.limits;
    let guest = runtime::run(&shared.engines, program, state, limits.cpu_time, meter);
    match limits.timeout {
        Some(limit) => timeout(limit, guest)
            .await
            .unwrap_or_else(|_| GuestEnd::timed_out(limit)),
        None => guest.await,
    }
}

/// The record of a datagram that has ended.
fn record<'a>(handler: &'a Handler, peer: &'a Peer, end: End, usage: Option<Usage>) -> Record<'a> {
    Record {
        handler,
        peer: Some(peer),
        connection: None,
        end,
        usage,
        http: None,
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
