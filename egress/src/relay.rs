//! Passes bytes, or datagrams, between a socket of this process and the one that a host has got.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional_with_sizes};
use tokio::net::{UdpSocket, UnixStream};
use wasm_sock_egress_protocol::{DATAGRAM, REFUSED};

/// As much as one record of TLS has.
const BUFFER: usize = 16 * 1024;

/// The largest datagram with its first byte: [`DATAGRAM`].
const PACKET: usize = 64 * 1024 + 1;

/// Passes bytes until both directions have ended, or one has failed. An end of one direction is passed on.
pub async fn stream(mut remote: impl AsyncRead + AsyncWrite + Unpin, mut host: UnixStream) {
    // Both are closed then, which is all that can be told.
    let _ = copy_bidirectional_with_sizes(&mut remote, &mut host, BUFFER, BUFFER).await;
}

/// Passes datagrams until the host closes its end. `host` is a Unix socket of packets.
///
/// # Errors
/// Those of the sockets.
pub async fn datagrams(remote: UdpSocket, host: OwnedFd) -> io::Result<()> {
    // SAFETY: an owned descriptor is open, and has one number, for as long as it lives.
    let host = unsafe { AsyncFd::register(host) }?;
    let (remote, host) = (Arc::new(remote), Arc::new(host));
    tokio::select! {
        result = to_host(&remote, &host) => result,
        result = to_remote(&remote, &host) => result,
    }
}

async fn to_host(remote: &UdpSocket, host: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut packet = vec![0; PACKET];
    loop {
        let length = match remote.recv(&mut packet[1..]).await {
            Ok(length) => {
                packet[0] = DATAGRAM;
                1 + length
            }
            // An ICMP message has come (`udp(7)`).
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                packet[0] = REFUSED;
                1
            }
            Err(_) => continue,
        };
        let send = |host: &OwnedFd| rustix::net::send(host, &packet[..length], rustix::net::SendFlags::NOSIGNAL);
        host.async_io(tokio::io::Interest::WRITABLE, |host| Ok(send(host)?))
            .await?;
    }
}

async fn to_remote(remote: &UdpSocket, host: &AsyncFd<OwnedFd>) -> io::Result<()> {
    let mut packet = vec![0; PACKET];
    loop {
        let length = host
            .async_io(tokio::io::Interest::READABLE, |host| {
                Ok(rustix::io::read(host, &mut packet)?)
            })
            .await?;
        match packet.get(..length) {
            // A packet has at least its first byte, so this is the end.
            Some([]) | None => return Ok(()),
            // As a network does, it drops what it cannot send.
            Some([_, datagram @ ..]) => drop(remote.send(datagram).await),
        }
    }
}
