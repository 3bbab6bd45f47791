//! One listening socket: the accept loop, its back-pressure and its back-off.

use super::Host;
use super::connection;
use crate::activation::Protocol;
use crate::event_loop;
use crate::guest::internet;
use crate::journal::{self, Level};
use crate::module::{Counted, Handler, Place, TooMany};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with, sockopt};
use std::fmt::Display;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::yield_now;
use tokio::time::sleep;

/// How long accepting rests when it does not work, as when the system has no descriptors left.
pub const BACK_OFF: Duration = Duration::from_millis(100);

/// How often clients that have to wait are worth a line in the log.
const REPORT: Duration = Duration::from_secs(60);

/// What a connection holds while it lasts.
pub struct Permits {
    _places: [Place; 2],
    _descriptors: OwnedSemaphorePermit,
    /// Its place among those of its source, once that is known.
    pub counted: Option<Counted>,
}

impl Permits {
    fn new(places: [Place; 2], descriptors: OwnedSemaphorePermit) -> Self {
        Self {
            _places: places,
            _descriptors: descriptors,
            counted: None,
        }
    }
}

/// A socket that connections come from.
pub struct Listener {
    fd: AsyncFd<OwnedFd>,
    protocol: Protocol,
}

impl Listener {
    /// # Errors
    /// When the event loop does not take the socket.
    pub fn new(fd: OwnedFd, protocol: Protocol) -> io::Result<Self> {
        // The flag is shared with systemd, which sets it too (systemd.socket(5)).
        rustix::io::ioctl_fionbio(&fd, true)?;
        let fd = event_loop::register(fd)?;
        Ok(Self { fd, protocol })
    }

    /// Accepts connections for ever, at most `max-connections` of the handler at a time. What is
    /// beyond that waits in the kernel's queue, and so does what comes after this is dropped.
    pub async fn accept_all(self, host: Arc<Host>, handler: Arc<Handler>) {
        let mut trouble = Trouble::default();
        let mut is_first = true;
        loop {
            // Held for a connection, never while waiting for one: a handler's sockets share them.
            let knock = self.knock_in_vain(&host, &handler);
            let Some(mut permits) = permits(&host, &handler, &mut trouble, knock).await else {
                return;
            };
            match self.try_accept() {
                Ok((fd, remote)) => {
                    let from = remote.map(|remote| remote.ip());
                    match handler.sources.admit(from) {
                        Ok(counted) => {
                            permits.counted = Some(counted);
                            let permits = Some(permits);
                            connection::spawn(&host, &handler, fd, self.protocol, remote, permits);
                            if mem::take(&mut is_first) {
                                // Whoever awoke the host is answered before others are asked in.
                                yield_now().await;
                            }
                        }
                        Err(too_many) => turn_away(&handler, fd, from, &too_many),
                    }
                }
                Err(Errno::AGAIN) => {
                    drop(permits);
                    if let Ok(mut ready) = self.fd.readable().await {
                        // The queue is emptied before the next wait, so nobody in it is forgotten.
                        ready.clear_ready();
                    }
                }
                // accept(2): errors of the connection that was to be accepted. The next may be well.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                // No descriptors or memory left, or something that may last.
                Err(error) => {
                    drop(permits);
                    trouble.report(&handler, &error);
                    sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Waits until somebody waits to be accepted. The event loop need not know of it: it tells only
    /// what is new, and remembers who was accepted since.
    async fn knock(&self) {
        while !self.has_somebody() {
            let Ok(mut ready) = self.fd.readable().await else {
                return;
            };
            if !self.has_somebody() {
                ready.clear_ready();
            }
        }
    }

    /// Waits until somebody waits who cannot be accepted, and tells why.
    async fn knock_in_vain(&self, host: &Host, handler: &Handler) {
        self.knock().await;
        let (whose, most, place) = match (handler.places.full(), host.places.full()) {
            (Some(most), _) => ("it has", most, ""),
            (None, Some(most)) => ("the host has", most, " in [host]"),
            (None, None) => return,
        };
        let message = format_args!(
            "clients wait: {whose} {most} connections (raise `max-connections`{place} if there may be more)"
        );
        handler.crowd.warn(&handler.name, message);
    }

    fn has_somebody(&self) -> bool {
        let mut fds = [PollFd::new(self.fd.get_ref(), PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&now)), Ok(1..))
    }

    fn try_accept(&self) -> rustix::io::Result<(OwnedFd, Option<SocketAddr>)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (fd, from) = acceptfrom_with(&self.fd, flags)?;
        Ok((fd, from.and_then(internet)))
    }
}

/// Resets a connection of a source that has too many.
fn turn_away(handler: &Handler, fd: OwnedFd, from: Option<IpAddr>, TooMany(most): &TooMany) {
    // Fails only when the client is gone.
    let _ = sockopt::set_socket_linger(fd, Some(Duration::ZERO));
    let from = from.map_or_else(String::new, |from| format!(" {from}"));
    let who = format_args!("{}{from}", handler.name);
    let message =
        format_args!("reset: it has {most} connections (raise `max-connections-per-source` if it may have more)");
    handler.sources.refusals.warn(who, message);
}

/// Waits until the handler and the host may have one more connection; when they may not, until there is
/// a `knock` and one of the connections has ended, or was idle and gave way. `None` never happens: nobody
/// closes the semaphores.
pub async fn permits(
    host: &Host,
    handler: &Handler,
    trouble: &mut Trouble,
    knock: impl Future<Output = ()>,
) -> Option<Permits> {
    let places = match try_places(host, handler) {
        Some(places) => places,
        // Nobody has a place while nobody knocks.
        None => {
            knock.await;
            [handler.places.take().await?, host.places.take().await?]
        }
    };
    let descriptors = match try_descriptors(host, handler) {
        Some(descriptors) => descriptors,
        None => {
            trouble.report(handler, &"all descriptors are in use");
            let descriptors = host.descriptors.clone();
            let needed = descriptors_needed(host, handler);
            descriptors.acquire_many_owned(needed).await.ok()?
        }
    };
    Some(Permits::new(places, descriptors))
}

/// What [`permits`] gives, if nobody has to wait for it.
pub fn try_permits(host: &Host, handler: &Handler) -> Option<Permits> {
    let places = try_places(host, handler)?;
    Some(Permits::new(places, try_descriptors(host, handler)?))
}

fn try_places(host: &Host, handler: &Handler) -> Option<[Place; 2]> {
    Some([handler.places.try_take()?, host.places.try_take()?])
}

fn try_descriptors(host: &Host, handler: &Handler) -> Option<OwnedSemaphorePermit> {
    let needed = descriptors_needed(host, handler);
    let descriptors = host.descriptors.clone();
    descriptors.try_acquire_many_owned(needed).ok()
}

fn descriptors_needed(host: &Host, handler: &Handler) -> u32 {
    handler.config.descriptors().min(host.descriptor_limit) as u32
}

/// Why a socket is not served for now, told now and then.
#[derive(Default)]
pub struct Trouble {
    reported: Option<Instant>,
}

impl Trouble {
    pub fn report(&mut self, handler: &Handler, why: &dyn Display) {
        if self.reported.is_some_and(|reported| reported.elapsed() < REPORT) {
            return;
        }
        self.reported = Some(Instant::now());
        let message =
            format!("cannot accept for now: {why}; clients wait (LimitNOFILE= in the service bounds descriptors)");
        journal::log_handler(Level::Warning, &handler.name, message);
    }
}
