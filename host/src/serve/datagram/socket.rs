//! A socket of datagrams: whom one came from, where it was sent to, and sending its answer from there.

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

/// How long a socket that takes no answer is given to take it.
const PATIENCE: Duration = Duration::from_secs(1);

/// What part of the room for answers that were not read one client may have: they lie in the buffer of *our*
/// socket until then (`unix(7)`), and who fills that keeps all others from being answered.
const SHARE: usize = 8;

/// What an answer takes there beside its bytes.
const OVERHEAD: usize = 1024;

/// Answers that are remembered until they were read. With more of them, all are forgotten: none is large.
const MOST_OPEN: usize = 4096;

/// Answers to clients of a Unix socket.
#[derive(Default)]
struct Answers {
    /// Bytes that each was sent and may not have read.
    sent: HashMap<Vec<u8>, usize>,
    /// Of what: to whom, how many bytes, and how many were unread before.
    open: Vec<(Vec<u8>, usize, usize)>,
    /// Clients that took no answer, and are given time for one.
    waiting: HashSet<Vec<u8>>,
}

/// How often it is asked.
const RETRY: Duration = Duration::from_millis(5);

impl Answers {
    /// So many bytes are unread: as few as before an answer went mean that it was read, or as much of others'.
    fn forget_read(&mut self, unread: usize) {
        if self.open.len() >= MOST_OPEN {
            self.open.clear();
            self.sent.clear();
        }
        let read = self.open.extract_if(.., |(_, _, before)| unread <= *before);
        for (name, size, _) in read {
            give_back(&mut self.sent, &name, size);
        }
    }

    /// An answer did not go.
    fn take_back(&mut self, name: &[u8], size: usize) {
        let mut open = self.open.iter();
        if let Some(position) = open.rposition(|(to, of, _)| to == name && *of == size) {
            self.open.swap_remove(position);
            give_back(&mut self.sent, name, size);
        }
    }
}

fn give_back(sent: &mut HashMap<Vec<u8>, usize>, name: &[u8], size: usize) {
    if let Some(left) = sent.get_mut(name) {
        *left = left.saturating_sub(size);
        if *left == 0 {
            sent.remove(name);
        }
    }
}

/// A socket that datagrams come from.
pub struct DatagramSocket {
    fd: AsyncFd<OwnedFd>,
    /// The port that is ours; `None`: it is a Unix socket.
    port: Option<u16>,
    answers: Mutex<Answers>,
}

/// A datagram that has come.
pub struct Received {
    pub bytes: Bytes,
    /// Was all of it received?
    pub whole: bool,
    pub sender: Sender,
}

/// Who sent a datagram.
pub enum Sender {
    Internet {
        from: SocketAddr,
        /// Where it was sent to, which is where its answer comes from.
        to: Option<IpAddr>,
    },
    Unix(SocketAddrUnix),
    /// A Unix socket without a name: it cannot be answered.
    Nobody,
}

impl DatagramSocket {
    /// # Errors
    /// When the socket cannot be prepared, or the event loop does not take it.
    pub fn new(fd: OwnedFd) -> io::Result<Self> {
        // The flag is shared with systemd, which sets it too (systemd.socket(5)).
        rustix::io::ioctl_fionbio(&fd, true)?;
        let local = getsockname::<SockaddrStorage>(fd.as_raw_fd())?;
        // So that each datagram tells which of our addresses it was sent to (ip(7), ipv6(7)).
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

    /// Waits until something has come since the last wait.
    pub async fn readable(&self) {
        if let Ok(mut ready) = self.fd.readable().await {
            // The queue is emptied before the next wait, so nothing in it is forgotten.
            ready.clear_ready();
        }
    }

    /// The next one that has come, with as much of it as fits into the buffer.
    ///
    /// # Errors
    /// Those of `recvmsg(2)`; `WouldBlock` when there is none.
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
        // With MSG_TRUNC the kernel tells the size of the datagram, and not of what was copied.
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        let (copied, size, from) = rustix::net::recvfrom(self.fd.get_ref(), &mut *buffer, flags)?;
        let from = from.and_then(|from| SocketAddrUnix::try_from(from).ok());
        let sender = match from.filter(|from| !from.is_unnamed()) {
            Some(from) => Sender::Unix(from),
            None => Sender::Nobody,
        };
        Ok(Received {
            bytes: Bytes::copy_from_slice(&buffer[..copied]),
            whole: copied == size,
            sender,
        })
    }

    pub fn peer(&self, sender: &Sender) -> Peer {
        match sender {
            Sender::Internet { from, to } => Peer::of_udp(*from, to.zip(self.port).map(SocketAddr::from)),
            Sender::Unix(name) => Peer::of_unix_datagram(&client(name)),
            Sender::Nobody => Peer::of_unix_datagram(b"unnamed"),
        }
    }

    /// Sends a datagram, unless it is empty or there is nobody to send it to. Returns how many bytes
    /// went.
    pub async fn reply(&self, answer: &[u8], to: &Sender) -> io::Result<usize> {
        if answer.is_empty() {
            return Ok(0);
        }
        let Sender::Unix(name) = to else {
            return self.insist(answer, to).await;
        };
        let (name, size) = (client(name), answer.len() + OVERHEAD);
        if !self.reserve(&name, size) {
            return Err(io::Error::other("its client reads none of its answers"));
        }
        let sent = match self.try_reply(answer, to) {
            // Another answer of the same client waits for the same.
            Err(e) if is_full(&e) && !lock(&self.answers).waiting.insert(name.clone()) => Err(e),
            Err(e) if is_full(&e) => {
                let sent = self.insist(answer, to).await;
                lock(&self.answers).waiting.remove(&name);
                sent
            }
            sent => sent,
        };
        if sent.is_err() {
            lock(&self.answers).take_back(&name, size);
        }
        sent
    }

    /// Tries for a while.
    async fn insist(&self, answer: &[u8], to: &Sender) -> io::Result<usize> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match self.try_reply(answer, to) {
                // It tells nobody when there is room in the queue of the other end (unix(7)).
                Err(e) if is_full(&e) && Instant::now() < give_up => sleep(RETRY).await,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Counts an answer that takes `size` bytes, unless its client has been sent so much, and has not read it, that
    /// others would go short.
    fn reserve(&self, name: &[u8], size: usize) -> bool {
        let unread = unread(self.fd.get_ref());
        let room = getsockopt(self.fd.get_ref(), sockopt::SndBuf).unwrap_or(0) / SHARE;
        let mut answers = lock(&self.answers);
        answers.forget_read(unread);
        let sent = answers.sent.get(name).copied().unwrap_or(0);
        // The first may be larger than that.
        if sent > 0 && sent + size > room && unread + size > room {
            return false;
        }
        *answers.sent.entry(name.to_owned()).or_default() += size;
        answers.open.push((name.to_owned(), size, unread));
        true
    }

    fn try_reply(&self, answer: &[u8], to: &Sender) -> io::Result<usize> {
        match to {
            Sender::Internet { from, to } => {
                let reply = self.try_reply_udp(answer, *from, *to);
                match reply {
                    // What was sent to several machines was not sent to an address of ours.
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
            Sender::Nobody => Ok(0),
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

/// Bytes of a Unix socket that those they were sent to have not read; 0 where that cannot be told.
fn unread(fd: &OwnedFd) -> usize {
    let mut bytes: libc::c_int = 0;
    // SAFETY: TIOCOUTQ writes one integer (`SIOCOUTQ`, unix(7)).
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    match result {
        0 => usize::try_from(bytes).unwrap_or(0),
        _ => 0,
    }
}

/// What tells one client from another: its address.
fn client(name: &SocketAddrUnix) -> Vec<u8> {
    let path = name.path_bytes().map(<[u8]>::to_vec);
    let abstract_name = || [b"@", name.abstract_name().unwrap_or_default()].concat();
    path.unwrap_or_else(abstract_name)
}

/// Is there no room for another datagram now?
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// The address of ours that a datagram was sent to; if it was sent to several machines, the one of
/// the interface that it came in at.
fn ipv4_of(info: &libc::in_pktinfo) -> IpAddr {
    let ip = |address: libc::in_addr| Ipv4Addr::from(address.s_addr.to_ne_bytes());
    let destination = ip(info.ipi_addr);
    let local = ip(info.ipi_spec_dst);
    // One that came before we asked for this carries no second address.
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
