//! Clients that exchange messages: datagrams, or the packets of a Unix connection.

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, bind, connect, recv,
    send, shutdown, socket_with, sockopt,
};

use crate::{End, PATIENCE};

/// More than any message has, in bytes.
const LARGEST: usize = 1 << 20;

/// Where messages are sent.
#[derive(Debug, Clone)]
pub enum Destination {
    Udp(SocketAddr),
    UnixDatagrams(SocketAddrUnix),
    UnixPackets(SocketAddrUnix),
}

/// Sends messages to one destination, and hears only what comes from this very address.
pub struct Correspondent(OwnedFd);

impl Destination {
    /// With an address of its own, so that it can be answered.
    #[track_caller]
    pub fn connect(&self) -> Correspondent {
        let fd = self.socket();
        if let Destination::UnixDatagrams(_) = self {
            // The kernel finds a name (unix(7), "autobind").
            bind(&fd, &SocketAddrUnix::new_unnamed()).expect("bind");
        }
        self.connected(fd)
    }

    /// From this address of the internet.
    #[track_caller]
    pub fn connect_from(&self, address: &str) -> Correspondent {
        let fd = self.socket();
        let address: SocketAddr = address.parse().expect("an address and a port");
        bind(&fd, &address).expect("bind");
        self.connected(fd)
    }

    /// From this Unix address.
    #[track_caller]
    pub fn connect_as(&self, name: &SocketAddrUnix) -> Correspondent {
        let fd = self.socket();
        bind(&fd, name).expect("bind");
        self.connected(fd)
    }

    /// With no address, so that there is nobody to answer.
    #[track_caller]
    pub fn connect_unnamed(&self) -> Correspondent {
        self.connected(self.socket())
    }

    /// Sends one message and takes the answer.
    #[track_caller]
    pub fn ask(&self, message: impl AsRef<[u8]>) -> Vec<u8> {
        self.connect().ask(message)
    }

    /// The same port at another address.
    #[track_caller]
    pub fn at(&self, ip: &str) -> Self {
        let ip = ip.parse().expect("an address");
        Destination::Udp(SocketAddr::new(ip, self.port()))
    }

    #[track_caller]
    pub fn port(&self) -> u16 {
        match self {
            Destination::Udp(address) => address.port(),
            other => panic!("{other:?} has no port"),
        }
    }

    #[track_caller]
    fn socket(&self) -> OwnedFd {
        let (family, socket_type) = match self {
            Destination::Udp(SocketAddr::V4(_)) => (AddressFamily::INET, SocketType::DGRAM),
            Destination::Udp(SocketAddr::V6(_)) => (AddressFamily::INET6, SocketType::DGRAM),
            Destination::UnixDatagrams(_) => (AddressFamily::UNIX, SocketType::DGRAM),
            Destination::UnixPackets(_) => (AddressFamily::UNIX, SocketType::SEQPACKET),
        };
        let fd = socket_with(family, socket_type, SocketFlags::CLOEXEC, None);
        let fd = fd.expect("make a socket");
        for timeout in [sockopt::Timeout::Recv, sockopt::Timeout::Send] {
            sockopt::set_socket_timeout(&fd, timeout, Some(PATIENCE)).expect("set a timeout");
        }
        fd
    }

    #[track_caller]
    fn connected(&self, fd: OwnedFd) -> Correspondent {
        let connected = match self {
            Destination::Udp(address) => connect(&fd, address),
            Destination::UnixDatagrams(name) | Destination::UnixPackets(name) => connect(&fd, name),
        };
        connected.unwrap_or_else(|error| panic!("cannot connect to {self:?}: {error}"));
        Correspondent(fd)
    }
}

impl Correspondent {
    #[track_caller]
    pub fn send(&self, message: impl AsRef<[u8]>) {
        let message = message.as_ref();
        let sent = send(&self.0, message, SendFlags::NOSIGNAL).expect("send a message");
        assert_eq!(sent, message.len(), "a message goes whole");
    }

    fn try_receive(&self, flags: RecvFlags) -> Result<Vec<u8>, Errno> {
        let mut message = vec![0; LARGEST];
        let (length, _) = recv(&self.0, &mut message, flags)?;
        message.truncate(length);
        Ok(message)
    }

    /// The next message, which must come soon. Of packets, an empty one is the end.
    #[track_caller]
    pub fn receive(&self) -> Vec<u8> {
        self.try_receive(RecvFlags::empty())
            .unwrap_or_else(|error| panic!("no message came: {error}"))
    }

    /// The next message, as text.
    #[track_caller]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.receive()).into_owned()
    }

    #[track_caller]
    pub fn ask(&self, message: impl AsRef<[u8]>) -> Vec<u8> {
        self.send(message);
        self.receive()
    }

    /// Nothing has come so far.
    #[track_caller]
    pub fn expect_nothing(&self) {
        match self.try_receive(RecvFlags::DONTWAIT) {
            Err(Errno::AGAIN) => {}
            other => panic!("{other:?} came, and nothing should have"),
        }
    }

    /// All packets until the connection ended, and how it did.
    #[track_caller]
    pub fn packets(&self) -> (Vec<Vec<u8>>, End) {
        let mut packets = Vec::new();
        loop {
            match self.try_receive(RecvFlags::empty()) {
                Ok(packet) if packet.is_empty() => return (packets, End::Closed),
                Ok(packet) => packets.push(packet),
                Err(Errno::CONNRESET) => return (packets, End::Reset),
                Err(Errno::AGAIN) => return (packets, End::TimedOut),
                Err(error) => panic!("unexpected error while receiving: {error}"),
            }
        }
    }

    /// This client will send no more packets.
    pub fn finish(&self) {
        // The guest may have ended the connection first.
        let _ = shutdown(&self.0, Shutdown::Write);
    }

    /// The port that this client comes from.
    #[track_caller]
    pub fn local_port(&self) -> u16 {
        let address = rustix::net::getsockname(&self.0).expect("getsockname");
        SocketAddr::try_from(address).expect("an internet address").port()
    }
}

impl AsFd for Correspondent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
