//! One listening socket: the accept loop, its back-pressure and its back-off.

use super::admission::admit::{AcceptWarnings, BACK_OFF, admit};
use super::admission::sources::TooMany;
use super::connection;
use super::handler::Handler;
use super::shared::Shared;
use crate::activation::Protocol;
use crate::event_loop;
use crate::net::internet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, acceptfrom_with, sockopt};
use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::task::yield_now;
use tokio::time::sleep;

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
    pub async fn accept_all(self, shared: Arc<Shared>, handler: Arc<Handler>) {
        let mut warnings = AcceptWarnings::default();
        let mut is_first = true;
        loop {
            // Held for a connection, never while waiting for one: a handler's sockets share the slots.
            let pending = self.warn_if_full(&shared, &handler);
            let Some(mut admitted) = admit(&shared, &handler, &mut warnings, pending).await else {
                return;
            };
            match self.try_accept() {
                Ok((fd, remote)) => {
                    let from = remote.map(|remote| remote.ip());
                    match handler.sources.admit(from) {
                        Ok(counted) => {
                            admitted.counted = Some(counted);
                            let admitted = Some(admitted);
                            connection::spawn(&shared, &handler, fd, self.protocol, remote, admitted);
                            if mem::take(&mut is_first) {
                                // The client that the host was started for is answered before others are accepted.
                                yield_now().await;
                            }
                        }
                        Err(too_many) => turn_away(&handler, fd, from, &too_many),
                    }
                }
                Err(Errno::AGAIN) => {
                    drop(admitted);
                    if let Ok(mut ready) = self.fd.readable().await {
                        // The queue is emptied before the next wait, so no client in it is forgotten.
                        ready.clear_ready();
                    }
                }
                // accept(2): errors of the connection that was to be accepted. The next may be well.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                // No descriptors or memory left, or something that may last.
                Err(error) => {
                    drop(admitted);
                    warnings.report(&handler, &error);
                    sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Waits until a client is pending. Readiness is edge-triggered and may be stale, so `poll(2)` is asked.
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

    /// Waits until a client is pending that cannot be accepted, and tells why.
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
