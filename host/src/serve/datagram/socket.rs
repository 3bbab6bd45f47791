//! A datagram socket: receives with source and destination address (`IP_PKTINFO`), and sends the answer from that
//! destination. On Unix sockets, bounds the unread answers of each client.

use crate::event_loop;
use crate::net::Peer;
use crate::sync::lock;
use bytes::Bytes;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, getsockname, getsockopt, recvmsg, sendmsg,
    setsockopt, sockopt,
};
use rustix::net::{RecvFlags, SendFlags, SocketAddrUnix};
use std::collections::{HashMap, HashSet};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// How long sending is retried while the receiver's queue is full.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// Unread answers of one client may take one part in so many of the send buffer. On a Unix socket they stay in *our*
/// buffer until the client reads them (`unix(7)`): a client that filled it would keep all others from being answered.
const CLIENT_SHARE: usize = 8;

/// What the kernel accounts for an answer in the send buffer beside its payload, in bytes (an estimate).
const DATAGRAM_OVERHEAD: usize = 1024;

/// The most answers that are tracked until they were read. When there are more, all are forgotten: so many answers in
/// one buffer are small.
const MAX_TRACKED: usize = 4096;

/// Unread answers to the clients of a Unix socket.
#[derive(Default)]
struct Answers {
    /// Bytes that each client was sent and may not have read.
    sent: HashMap<Vec<u8>, usize>,
    /// Each of these answers: the client, its size in bytes, and how many bytes were unread before it was sent.
    unread: Vec<(Vec<u8>, usize, usize)>,
    /// Clients whose queue is full, and to which sending is being retried.
    retried: HashSet<Vec<u8>>,
}

/// The time between two attempts to send.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

impl Answers {
    /// Forgets answers that were read. When no more than `unread` bytes are left in the send buffer, as few as before
    /// an answer was sent, then it was read, or as many bytes of other answers.
    fn forget_read(&mut self, unread: usize) {
        if self.unread.len() >= MAX_TRACKED {
            self.unread.clear();
            self.sent.clear();
        }
        let read = self.unread.extract_if(.., |(_, _, before)| unread <= *before);
        for (name, size, _) in read {
            subtract(&mut self.sent, &name, size);
        }
    }

    /// Forgets an answer that was not sent.
    fn take_back(&mut self, name: &[u8], size: usize) {
        let mut unread = self.unread.iter();
        if let Some(position) = unread.rposition(|(to, of, _)| to == name && *of == size) {
            self.unread.swap_remove(position);
            subtract(&mut self.sent, name, size);
        }
    }
}

/// Subtracts `size` bytes from those that a client was sent.
fn subtract(sent: &mut HashMap<Vec<u8>, usize>, name: &[u8], size: usize) {
    if let Some(left) = sent.get_mut(name) {
        *left = left.saturating_sub(size);
        if *left == 0 {
            sent.remove(name);
        }
    }
}

/// A datagram socket, registered with the event loop.
pub struct DatagramSocket {
    fd: AsyncFd<OwnedFd>,
    /// The local port; `None`: it is a Unix socket.
    port: Option<u16>,
    answers: Mutex<Answers>,
}

/// A datagram that was received.
pub struct Received {
    pub bytes: Bytes,
    /// Did it fit into the buffer (no `MSG_TRUNC`)?
    pub whole: bool,
    pub sender: Sender,
}

/// The source of a datagram.
pub enum Sender {
    Internet {
        from: SocketAddr,
        /// The local address that it was sent to, which is the source of its answer.
        to: Option<IpAddr>,
    },
    Unix(SocketAddrUnix),
    /// A Unix socket without a name: it cannot be answered.
    Unnamed,
}

impl DatagramSocket {
    /// Makes the socket non-blocking, asks for destination addresses, and registers it with the event loop.
    ///
    /// # Errors
    /// Those of `setsockopt(2)` and `epoll_ctl(2)`.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        // The flag is shared with systemd, which sets it too (systemd.socket(5)).
        rustix::io::ioctl_fionbio(&fd, true)?;
        let local = getsockname::<SockaddrStorage>(fd.as_raw_fd())?;
        // With this, each datagram carries the local address that it was sent to (ip(7), ipv6(7)).
        if local.as_sockaddr_in().is_some() {
            setsockopt(&fd, sockopt::Ipv4PacketInfo, &true)?;
        } else if local.as_sockaddr_in6().is_some() {
            setsockopt(&fd, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
        let port = internet(&local).map(|address| address.port());
        let fd = event_loop::register(fd)?;
        let answers = Mutex::default();
        Ok(Self { fd, port, answers })
    }

    /// Waits until a datagram has arrived since the last wait.
    pub async fn readable(&self) {
        if let Ok(mut ready) = self.fd.readable().await {
            // Readiness is edge-triggered: the caller empties the queue before it waits again.
            ready.clear_ready();
        }
    }

    /// Receives the next datagram, as much of it as fits into the buffer.
    ///
    /// # Errors
    /// Those of `recvmsg(2)`; `WouldBlock` when none is there.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        match self.port {
            Some(_) => self.try_receive_udp(buffer),
            None => self.try_receive_unix(buffer),
        }
    }

    fn try_receive_udp(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut space = cmsg_space!(libc::in6_pktinfo);
        let mut into = [IoSliceMut::new(buffer)];
        let fd = self.fd.get_ref().as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let message = recvmsg::<SockaddrStorage>(fd, &mut into, Some(&mut space), flags)?;
        let from = message.address.as_ref().and_then(internet);
        let from = from.ok_or(io::ErrorKind::InvalidData)?;
        let to = message.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::Ipv4PacketInfo(info) => Some(ipv4_of(&info)),
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                Some(IpAddr::from(info.ipi6_addr.s6_addr)).filter(|ip| !ip.is_multicast())
            }
            _ => None,
        });
        let (size, whole) = (message.bytes, !message.flags.contains(MsgFlags::MSG_TRUNC));
        Ok(Received {
            bytes: Bytes::copy_from_slice(&buffer[..size]),
            whole,
            sender: Sender::Internet { from, to },
        })
    }

    fn try_receive_unix(&self, buffer: &mut [u8]) -> io::Result<Received> {
        // With MSG_TRUNC the kernel returns the size of the datagram instead of what was copied.
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let (copied, size, from) = rustix::net::recvfrom(self.fd.get_ref(), &mut *buffer, flags)?;
        let from = from.and_then(|from| SocketAddrUnix::try_from(from).ok());
        let sender = match from.filter(|from| !from.is_unnamed()) {
            Some(from) => Sender::Unix(from),
            None => Sender::Unnamed,
        };
        Ok(Received {
            bytes: Bytes::copy_from_slice(&buffer[..copied]),
            whole: copied == size,
            sender,
        })
    }

    /// The peer of a datagram, for its guest and the log.
    pub fn peer(&self, sender: &Sender) -> Peer {
        match sender {
            Sender::Internet { from, to } => Peer::of_udp(*from, to.zip(self.port).map(SocketAddr::from)),
            Sender::Unix(name) => Peer::of_unix_datagram(&client(name)),
            Sender::Unnamed => Peer::of_unix_datagram(b"unnamed"),
        }
    }

    /// Sends an answer, unless it is empty or its client has no address. Returns how many bytes were sent.
    ///
    /// # Errors
    /// Those of `sendmsg(2)`, after [`SEND_TIMEOUT`] for a queue that stays full; on Unix sockets also when the client
    /// has too many unread answers.
    pub async fn reply(&self, answer: &[u8], to: &Sender) -> io::Result<usize> {
        if answer.is_empty() {
            return Ok(0);
        }
        let Sender::Unix(name) = to else {
            return self.send_with_retries(answer, to).await;
        };
        let (name, size) = (client(name), answer.len() + DATAGRAM_OVERHEAD);
        if !self.reserve(&name, size) {
            return Err(io::Error::other("the client does not read its answers"));
        }
        let sent = match self.try_reply(answer, to) {
            // Another answer to the same client is being retried already.
            Err(e) if is_full(&e) && !lock(&self.answers).retried.insert(name.clone()) => Err(e),
            Err(e) if is_full(&e) => {
                let sent = self.send_with_retries(answer, to).await;
                lock(&self.answers).retried.remove(&name);
                sent
            }
            sent => sent,
        };
        if sent.is_err() {
            lock(&self.answers).take_back(&name, size);
        }
        sent
    }

    /// Sends an answer, and retries for up to [`SEND_TIMEOUT`] while there is no room for it.
    async fn send_with_retries(&self, answer: &[u8], to: &Sender) -> io::Result<usize> {
        let deadline = Instant::now() + SEND_TIMEOUT;
        loop {
            match self.try_reply(answer, to) {
                // No event tells when there is room in the receiver's queue (unix(7)).
                Err(e) if is_full(&e) && Instant::now() < deadline => sleep(RETRY_INTERVAL).await,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Counts an answer of `size` bytes. Returns `false`, and counts nothing, when the client's unread answers would
    /// take more than its share of the send buffer.
    fn reserve(&self, name: &[u8], size: usize) -> bool {
        let unread = unread(self.fd.get_ref());
        let share = getsockopt(self.fd.get_ref(), sockopt::SndBuf).unwrap_or(0) / CLIENT_SHARE;
        let mut answers = lock(&self.answers);
        answers.forget_read(unread);
        let sent = answers.sent.get(name).copied().unwrap_or(0);
        // A single answer may be larger than that.
        if sent > 0 && sent + size > share && unread + size > share {
            return false;
        }
        *answers.sent.entry(name.to_owned()).or_default() += size;
        answers.unread.push((name.to_owned(), size, unread));
        true
    }

    fn try_reply(&self, answer: &[u8], to: &Sender) -> io::Result<usize> {
        match to {
            Sender::Internet { from, to } => {
                let reply = self.try_reply_udp(answer, *from, *to);
                match reply {
                    // A multicast or broadcast address cannot be a source: the kernel chooses one.
                    Err(Errno::ENETUNREACH | Errno::EADDRNOTAVAIL | Errno::EINVAL) if to.is_some() => {
                        Ok(self.try_reply_udp(answer, *from, None)?)
                    }
                    reply => Ok(reply?),
                }
            }
            Sender::Unix(name) => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                Ok(rustix::net::sendto(self.fd.get_ref(), answer, flags, name)?)
            }
            Sender::Unnamed => Ok(0),
        }
    }

    fn try_reply_udp(&self, answer: &[u8], to: SocketAddr, from: Option<IpAddr>) -> nix::Result<usize> {
        let fd = self.fd.get_ref().as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
        let (answer, to) = ([IoSlice::new(answer)], SockaddrStorage::from(to));
        match from {
            Some(IpAddr::V4(ip)) => {
                let info = libc::in_pktinfo {
                    ipi_ifindex: 0,
                    ipi_spec_dst: in_addr(ip),
                    ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
                };
                let from = [ControlMessage::Ipv4PacketInfo(&info)];
                sendmsg(fd, &answer, &from, flags, Some(&to))
            }
            Some(IpAddr::V6(ip)) => {
                let info = libc::in6_pktinfo {
                    ipi6_addr: libc::in6_addr { s6_addr: ip.octets() },
                    ipi6_ifindex: 0,
                };
                let from = [ControlMessage::Ipv6PacketInfo(&info)];
                sendmsg(fd, &answer, &from, flags, Some(&to))
            }
            None => sendmsg(fd, &answer, &[], flags, Some(&to)),
        }
    }
}

/// Bytes that were sent from this Unix socket and not read yet; 0 if that is not known.
fn unread(fd: &OwnedFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one integer (`SIOCOUTQ`, unix(7)).
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    match result {
        0 => usize::try_from(bytes).unwrap_or(0),
        _ => 0,
    }
}

/// The identity of a client: its address, an abstract one with `@` in front.
fn client(name: &SocketAddrUnix) -> Vec<u8> {
    let path = name.path_bytes().map(<[u8]>::to_vec);
    let abstract_name = || [b"@", name.abstract_name().unwrap_or_default()].concat();
    path.unwrap_or_else(abstract_name)
}

/// Is there no room for another datagram at the moment?
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// The local address that a datagram was sent to; if that is a multicast or broadcast address, the one of the interface
/// that received it.
fn ipv4_of(info: &libc::in_pktinfo) -> IpAddr {
    let ip = |address: libc::in_addr| Ipv4Addr::from(address.s_addr.to_ne_bytes());
    let destination = ip(info.ipi_addr);
    let local = ip(info.ipi_spec_dst);
    // A datagram that arrived before `IP_PKTINFO` was set carries no local address.
    IpAddr::V4(if local.is_unspecified() { destination } else { local })
}

fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(ip.octets()),
    }
}

fn internet(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || address.as_sockaddr_in().map(|a| SocketAddrV4::from(*a).into());
    let v6 = || address.as_sockaddr_in6().map(|a| SocketAddrV6::from(*a).into());
    v4().or_else(v6)
}
