//! One listening socket: the accept loop, its back-pressure and its back-off.

use super::Host;
use super::connection;
use crate::activation::Protocol;
use crate::journal::{self, Level};
use crate::module::Handler;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use std::fmt::Display;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

/// How long accepting rests when it does not work, as when the system has no descriptors left.
pub const BACK_OFF: Duration = Duration::from_millis(100);

/// How often clients that have to wait are worth a line in the log.
const REPORT: Duration = Duration::from_secs(60);

/// What a connection holds while it lasts: its place in `max-connections`, and its descriptors.
pub type Permits = (OwnedSemaphorePermit, OwnedSemaphorePermit);

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
        // SAFETY: an owned descriptor has one number, and is open, for as long as it lives.
        let fd = unsafe { AsyncFd::register(fd) }?;
        Ok(Self { fd, protocol })
    }

    /// Accepts connections for ever, at most `max-connections` of the handler at a time. What is
    /// beyond that waits in the kernel's queue, and so does what comes after this is dropped.
    pub async fn accept_all(self, host: Arc<Host>, handler: Arc<Handler>) {
        let mut trouble = Trouble::default();
        loop {
            // Held for a connection, never while waiting for one: a handler's sockets share them.
            let knock = self.knock();
            let Some(permits) = permits(&host, &handler, &mut trouble, knock).await else {
                return;
            };
            match self.try_accept() {
                Ok(fd) => {
                    connection::spawn(&host, &handler, fd, self.protocol, Some(permits));
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

    fn has_somebody(&self) -> bool {
        let mut fds = [PollFd::new(self.fd.get_ref(), PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut fds, Some(&now)), Ok(1..))
    }

    fn try_accept(&self) -> rustix::io::Result<OwnedFd> {
        accept_with(&self.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
    }
}

/// Waits until the handler may have one more connection; when it may not, until there is a `knock`
/// and one of its connections has ended, or was idle and gave way. `None` never happens: nobody closes the
/// semaphores.
pub async fn permits(
    host: &Host,
    handler: &Handler,
    trouble: &mut Trouble,
    knock: impl Future<Output = ()>,
) -> Option<Permits> {
    let places = handler.connections.clone();
    let place = match places.clone().try_acquire_owned() {
        Ok(place) => place,
        Err(_) => {
            knock.await;
            let _waiting = handler.wait_for_place();
            places.acquire_owned().await.ok()?
        }
    };
    let needed = descriptors_needed(host, handler);
    let descriptors = host.descriptors.clone();
    if let Ok(descriptors) = descriptors.clone().try_acquire_many_owned(needed) {
        return Some((place, descriptors));
    }
    trouble.report(handler, &"all descriptors are in use");
    let descriptors = descriptors.acquire_many_owned(needed).await.ok()?;
    Some((place, descriptors))
}

/// What [`permits`] gives, if nobody has to wait for it.
pub fn try_permits(host: &Host, handler: &Handler) -> Option<Permits> {
    let place = handler.connections.clone().try_acquire_owned().ok()?;
    let needed = descriptors_needed(host, handler);
    let descriptors = host.descriptors.clone();
    Some((place, descriptors.try_acquire_many_owned(needed).ok()?))
}

/// Its own descriptor, and one for each directory it was granted.
fn descriptors_needed(host: &Host, handler: &Handler) -> u32 {
    (1 + handler.config.dirs.len()).min(host.descriptor_limit) as u32
}

/// Why a socket is not served for now, told now and then.
#[derive(Default)]
pub struct Trouble {
    reported: Option<Instant>,
}

impl Trouble {
    pub fn report(&mut self, handler: &Handler, why: &dyn Display) {
        if self
            .reported
            .is_some_and(|reported| reported.elapsed() < REPORT)
        {
            return;
        }
        self.reported = Some(Instant::now());
        let message = format!(
            "cannot accept for now: {why}; clients wait (LimitNOFILE= in the service bounds descriptors)"
        );
        journal::log_handler(Level::Warning, &handler.name, message);
    }
}
