//! The baseline for datagrams: a native program that sends each back, written as one would.

use std::io;
use std::os::fd::FromRawFd;
use tokio::net::UdpSocket;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    // SAFETY: whoever starts us passes a UDP socket as descriptor 3 (`sd_listen_fds(3)`).
    let socket = unsafe { std::net::UdpSocket::from_raw_fd(3) };
    socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(socket)?;
    let mut buffer = vec![0; 65_535];
    loop {
        let (size, peer) = socket.recv_from(&mut buffer).await?;
        socket.send_to(&buffer[..size], peer).await?;
    }
}
