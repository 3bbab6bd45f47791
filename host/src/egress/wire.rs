//! Packets on the socket of `wasm-sock-egress`.

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags,
    SocketType, recvmsg, send, socket_with,
};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::time::Duration;
use wasm_sock_egress_protocol::{MAX_MESSAGE, Reply, decode};

/// How long connecting may wait while the queue of the listening socket is full.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The one socket: it is made before the sandbox, connected at the first use, and never closed, since the filter of
/// system calls allows connect(2) for its number.
pub struct Wire {
    number: RawFd,
}

impl Wire {
    /// # Errors
    /// Those of socket(2).
    pub fn new() -> io::Result<Self> {
        let fd = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok(Self {
            number: fd.into_raw_fd(),
        })
    }

    pub fn number(&self) -> RawFd {
        self.number
    }

    /// Connects it. May wait for [`CONNECT_TIMEOUT`]. After an error it can be tried again.
    ///
    /// # Errors
    /// Those of connect(2).
    pub fn connect(&self, path: &Path) -> io::Result<()> {
        set_socket_timeout(self, Timeout::Send, Some(CONNECT_TIMEOUT))?;
        let address = SocketAddrUnix::new(path)?;
        loop {
            match rustix::net::connect(self, &address) {
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(io::ErrorKind::TimedOut.into()),
                result => return Ok(result?),
            }
        }
    }

    /// Sends a packet.
    ///
    /// # Errors
    /// `WouldBlock`: too many packets were not read yet. Others: the connection is gone.
    pub fn send(&self, packet: &[u8], flags: SendFlags) -> io::Result<()> {
        send(self, packet, flags | SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Waits for the next reply, and the descriptor that came with it; `None`: the connection is gone.
    pub fn receive(&self, buffer: &mut [u8; MAX_MESSAGE]) -> Option<(Reply, Option<OwnedFd>)> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let length = loop {
            match recvmsg(
                self,
                &mut [IoSliceMut::new(buffer)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            ) {
                Err(Errno::INTR) => {}
                Err(_) => return None,
                Ok(received) if received.bytes == 0 => return None,
                Ok(received) => break received.bytes,
            }
        };
        let mut descriptors = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        let descriptor = descriptors.next();
        let reply = decode(buffer.get(..length)?).ok()?;
        Some((reply, descriptor))
    }

    /// Ends the connection, for both sides.
    pub fn shut_down(&self) {
        let _ = rustix::net::shutdown(self, rustix::net::Shutdown::Both);
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: `new` gave up the descriptor, so that nothing closes it.
        unsafe { BorrowedFd::borrow_raw(self.number) }
    }
}
