//! One listening socket: the accept loop, its back-pressure and its back-off.

use super::Host;
use super::peer::Peer;
use super::stream;
use crate::activation::Kind;
use crate::guest::Connection;
use crate::journal::{self, Level};
use crate::module::Handler;
use rustix::io::Errno;
use rustix::net::{SocketAddrAny, SocketFlags, acceptfrom_with};
use std::io;
use std::mem;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::sleep;

/// How long accepting rests when it does not work, as when the system has no descriptors left.
const BACK_OFF: Duration = Duration::from_millis(100);

/// A socket that connections come from.
pub struct Listener {
    fd: AsyncFd<OwnedFd>,
    kind: Kind,
}

impl Listener {
    /// # Errors
    /// When the event loop does not take the socket.
    pub fn new(fd: OwnedFd, kind: Kind) -> io::Result<Self> {
        // The flag is shared with systemd, which sets it too (systemd.socket(5)).
        rustix::io::ioctl_fionbio(&fd, true)?;
        // SAFETY: an owned descriptor has one number, and is open, for as long as it lives.
        let fd = unsafe { AsyncFd::register(fd) }?;
        Ok(Self { fd, kind })
    }

    /// Accepts connections for ever, at most `max-connections` of the handler at a time. What is
    /// beyond that waits in the kernel's queue, and so does what comes after this is dropped.
    pub async fn accept_all(self, host: Arc<Host>, handler: Arc<Handler>) {
        let mut troubled = false;
        // Its own descriptor, and one for each directory it was granted.
        let needed = (1 + handler.config.dirs.len()).min(host.descriptor_limit);
        loop {
            // Held for a connection, never while waiting for one: a handler's sockets share them.
            let Ok(permit) = handler.connections.clone().acquire_owned().await else {
                return;
            };
            let Ok(descriptors) = host
                .descriptors
                .clone()
                .acquire_many_owned(needed as u32)
                .await
            else {
                return;
            };
            match self.try_accept() {
                Ok((fd, address)) => {
                    troubled = false;
                    self.spawn(&host, &handler, (permit, descriptors), fd, address);
                }
                Err(Errno::AGAIN) => {
                    drop((permit, descriptors));
                    if let Ok(mut ready) = self.fd.readable().await {
                        // The queue is emptied before the next wait, so nobody in it is forgotten.
                        ready.clear_ready();
                    }
                }
                // accept(2): errors of the connection that was to be accepted. The next may be well.
                Err(Errno::INTR | Errno::CONNABORTED) => {}
                // No descriptors or memory left, or something that may last.
                Err(error) => {
                    drop((permit, descriptors));
                    if !mem::replace(&mut troubled, true) {
                        let message = format!(
                            "cannot accept for now: {error}; clients wait (LimitNOFILE= in the service bounds descriptors)"
                        );
                        journal::log_handler(Level::Warning, &handler.name, "", message);
                    }
                    sleep(BACK_OFF).await;
                }
            }
        }
    }

    fn spawn(
        &self,
        host: &Arc<Host>,
        handler: &Arc<Handler>,
        permits: (OwnedSemaphorePermit, OwnedSemaphorePermit),
        fd: OwnedFd,
        address: Option<SocketAddrAny>,
    ) {
        let in_flight = host.activity.begin();
        let peer = Peer::of(&fd, self.kind, address);
        let connection = Arc::new(Connection::new(fd, self.kind == Kind::Tcp));
        let (host, handler) = (host.clone(), handler.clone());
        tokio::spawn(async move {
            stream::serve(&host, &handler, &connection, peer).await;
            drop((permits, in_flight));
        });
    }

    fn try_accept(&self) -> rustix::io::Result<(OwnedFd, Option<SocketAddrAny>)> {
        acceptfrom_with(&self.fd, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)
    }
}
