//! The accept loop of a listening socket, with admission control, back-pressure and back-off after errors.

use super::admission::admit::{AcceptWarnings, BACK_OFF, admit};
use super::admission::sources::TooMany;
use super::connection;
use super::handler::Handler;
use super::record::{End, LogLine, Record};
use super::shared::Shared;
use crate::activation::Protocol;
use crate::event_loop;
use crate::journal::Level;
use crate::net::internet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with, sockopt};
use std::fmt::Display;
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;
use tokio::time::sleep;
use wasm_sock_stats::Outcome;

/// A listening stream socket, registered with the event loop.
pub struct Listener {
    fd: AsyncFd<OwnedFd>,
    protocol: Protocol,
}

impl Listener {
    /// Makes the socket non-blocking and registers it with the event loop.
    ///
    /// # Errors
    /// Those of `ioctl(2)` and `epoll_ctl(2)`.
    pub fn new(fd: OwnedFd, protocol: Protocol) -> io::Result<Self> {
        // The flag is shared with systemd, which sets it too (systemd.socket(5)).
        rustix::io::ioctl_fionbio(&fd, true)?;
        let fd = event_loop::register(fd)?;
        Ok(Self { fd, protocol })
    }

    /// Accepts and serves connections, at most `max-connections` of the handler at a time. More clients stay pending
    /// in the kernel's queue, as do all that connect after this future was dropped. Does not return.
    pub async fn accept_all(self, shared: Arc<Shared>, mut handler: Arc<Handler>) {
        let mut warnings = AcceptWarnings::default();
        let mut is_first = true;
        loop {
            // A slot is held for a connection, never while no client is pending: a handler's sockets share its slots.
            let pending = self.warn_if_full(&shared, &handler);
            let Some(mut admitted) = admit(&shared, &handler, &mut warnings, pending).await else {
                return;
            };
            // The settings may have been replaced while there was no client.
            Handler::update(&mut handler);
            match self.try_accept() {
                Ok((fd, remote)) => {
                    let from = remote.map(|remote| remote.ip());
                    match handler.connection_sources.admit(from) {
                        Ok(counted) => {
                            admitted.counted = Some(counted);
                            let admitted = Some(admitted);
                            connection::spawn(&shared, &handler, fd, self.protocol, remote, admitted);
                            if mem::take(&mut is_first) {
                                // The client that the host was started for is served before others are accepted.
                                yield_now().await;
                            }
                        }
                        Err(too_many) => reset(&handler, fd, from, &too_many),
                    }
                }
                Err(Errno::AGAIN) => {
                    drop(admitted);
                    if let Ok(mut ready) = self.fd.readable().await {
                        // Readiness is edge-triggered: the loop empties the queue before it waits again.
                        ready.clear_ready();
                    }
                }
                // accept(2): errors of the connection that was to be accepted, not of the socket.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                // No descriptors or memory left, or another error that may persist.
                Err(error) => {
                    drop(admitted);
                    warnings.report(&handler, &error);
                    sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Waits until a client is pending. Readiness is edge-triggered and may be stale, so it is checked with `poll(2)`.
    async fn pending(&self) {
        while !self.has_pending() {
            let Ok(mut ready) = self.fd.readable().await else {
                return;
            };
            if !self.has_pending() {
                ready.clear_ready();
            }
        }
    }

    /// Waits until a client is pending, and logs which `max-connections` it has to wait for.
    async fn warn_if_full(&self, shared: &Shared, handler: &Handler) {
        self.pending().await;
        let (whose, most, section) = match (handler.slots.full(), shared.slots.full()) {
            (Some(most), _) => ("it has", most, ""),
            (None, Some(most)) => ("the host has", most, " in [host]"),
            (None, None) => return,
        };
        let message = format_args!(
            "clients wait: {whose} {most} connections (raise `max-connections`{section} if there may be more)"
        );
        handler.waits.warn(&handler.name, message);
    }

    fn has_pending(&self) -> bool {
        let mut fds = [PollFd::new(self.fd.get_ref(), PollFlags::IN)];
        let no_wait = Timespec { tv_sec: 0, tv_nsec: 0 };
        matches!(poll(&mut fds, Some(&no_wait)), Ok(1..))
    }

    fn try_accept(&self) -> rustix::io::Result<(OwnedFd, Option<SocketAddr>)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (fd, from) = acceptfrom_with(&self.fd, flags)?;
        Ok((fd, from.and_then(internet)))
    }
}

/// Resets a connection of a source that has too many (`max-connections-per-source`).
fn reset(handler: &Handler, fd: OwnedFd, from: Option<IpAddr>, TooMany(most): &TooMany) {
    handler.stats.begin();
    // It fails only when the client has left.
    let _ = sockopt::set_socket_linger(fd, Some(Duration::ZERO));
    let what = format!("reset: it has {most} connections (raise `max-connections-per-source` if it may have more)");
    let record = Record {
        handler,
        peer: from.as_ref().map(|from| from as &dyn Display),
        connection: None,
        end: End::new(Outcome::Refused, Level::Warning, what),
        usage: None,
        http: None,
    };
    record.write(LogLine::Limited(&handler.connection_sources.refusals));
}
