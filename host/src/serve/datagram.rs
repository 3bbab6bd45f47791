//! One socket of datagrams: each that comes is one run of the guest, and what the guest writes goes
//! back as one datagram, from the address that the first was sent to.

use super::Host;
use super::accept::{BACK_OFF, Permits, Trouble, permits, try_permits};
use crate::guest::{self, Datagram, End, Meter, Peer, State, Stdio, Who};
use crate::journal::{self, Level, Took};
use crate::lifecycle::InFlight;
use crate::module::{Handler, TooMany};
use bytes::Bytes;
use futures::FutureExt;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, getsockname, recvmsg, sendmsg,
    setsockopt, sockopt,
};
use rustix::net::{RecvFlags, SendFlags, SocketAddrUnix};
use std::collections::VecDeque;
use std::fmt;
use std::future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::coop::consume_budget;
use tokio::time::{sleep, timeout};

/// How long a socket that takes no answer is given to take it.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often it is asked.
const RETRY: Duration = Duration::from_millis(5);

/// Datagrams that are received before the first of them is served. All of them are begun before
/// anything else has its turn.
const BATCH: usize = 16;

/// Datagrams of a batch that are worth another thread's while.
const CROWD: usize = 3;

/// A socket that datagrams come from.
pub struct Mailbox {
    fd: AsyncFd<OwnedFd>,
    /// The port that is ours; `None`: it is a Unix socket.
    port: Option<u16>,
    /// What was received, for whichever thread comes first. Only the first thread receives: what is
    /// in flight is known where the host decides to leave.
    batch: Mutex<VecDeque<Job>>,
    /// Tells the other threads of a batch.
    crowd: Notify,
}

/// A datagram that is to be served, with its place.
struct Job {
    received: Received,
    permits: Permits,
    in_flight: InFlight,
}

/// A datagram that has come.
struct Received {
    bytes: Bytes,
    whole: bool,
    sender: Sender,
}

/// Who sent a datagram.
enum Sender {
    Internet {
        from: SocketAddr,
        /// Where it was sent to, which is where its answer comes from.
        to: Option<IpAddr>,
    },
    Unix(SocketAddrUnix),
    /// A Unix socket without a name: it cannot be answered.
    Nobody,
}

impl Sender {
    fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Internet { from, .. } => Some(from.ip().to_canonical()),
            Self::Unix(_) | Self::Nobody => None,
        }
    }
}

impl Mailbox {
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
        // SAFETY: an owned descriptor has one number, and is open, for as long as it lives.
        let fd = unsafe { AsyncFd::register(fd) }?;
        Ok(Self {
            fd,
            port,
            batch: Mutex::default(),
            crowd: Notify::new(),
        })
    }

    /// Receives datagrams for ever, and runs at most `max-connections` guests of the handler at a
    /// time. What is beyond that waits in the kernel, and so does what comes after this is dropped.
    pub async fn receive_all(self, host: Arc<Host>, handler: Arc<Handler>) {
        let mailbox = Arc::new(self);
        let mut trouble = Trouble::default();
        let mut buffer = vec![0; handler.config.limits.max_datagram as usize];
        let mut is_assisted = false;
        loop {
            // Guests that answer at once never let the others have their turn.
            consume_budget().await;
            let at_once = future::ready(());
            let Some(permits) = permits(&host, &handler, &mut trouble, at_once).await else {
                return;
            };
            // From here on nothing waits: whoever drops this loses no datagram.
            let received = mailbox.receive_batch(&host, &handler, permits, &mut buffer);
            let size = mailbox.batch().len();
            if size > CROWD {
                if !is_assisted {
                    is_assisted = true;
                    let assist = || mailbox.clone().assist(host.clone(), handler.clone());
                    host.threads.spawn_in_others(assist);
                }
                mailbox.crowd.notify_waiters();
            }
            mailbox.serve_batch(&host, &handler);
            match received {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    if let Ok(mut ready) = mailbox.fd.readable().await {
                        // The queue is emptied before the next wait, so nothing in it is forgotten.
                        ready.clear_ready();
                    }
                }
                Err(e) if is_passing(&e) => {}
                Err(error) => {
                    trouble.report(&handler, &error);
                    sleep(BACK_OFF).await;
                }
            }
        }
    }

    /// Receives what there is, as far as there are permits for it beyond the first.
    fn receive_batch(
        &self,
        host: &Arc<Host>,
        handler: &Handler,
        first: Permits,
        buffer: &mut [u8],
    ) -> io::Result<()> {
        let mut permits = Some(first);
        for _ in 0..BATCH {
            let Some(mut permits) = permits.take().or_else(|| try_permits(host, handler)) else {
                return Ok(());
            };
            let received = self.try_receive(buffer)?;
            match handler.sources.admit(received.sender.address()) {
                Ok(counted) => permits.counted = Some(counted),
                Err(TooMany(most)) => {
                    let peer = self.peer(&received.sender);
                    let message = format_args!(
                        "dropped: it has {most} datagrams that are being answered (raise `max-connections-per-source` if it may have more)"
                    );
                    let who = format_args!("{} {peer}", handler.name);
                    handler.sources.refusals.warn(who, message);
                    continue;
                }
            }
            let in_flight = host.activity.begin();
            self.batch().push_back(Job {
                received,
                permits,
                in_flight,
            });
        }
        Ok(())
    }

    /// Serves what is in the batch, together with whoever else does.
    fn serve_batch(self: &Arc<Self>, host: &Arc<Host>, handler: &Arc<Handler>) {
        // The lock is free while a guest runs.
        let next = || self.batch().pop_front();
        while let Some(job) = next() {
            let (mailbox, host, handler) = (self.clone(), host.clone(), handler.clone());
            let mut serve = Box::pin(async move {
                mailbox.serve(&host, &handler, job.received).await;
                drop((job.permits, job.in_flight));
            });
            // Most guests answer at once, and need no task of their own.
            if serve.as_mut().now_or_never().is_none() {
                tokio::spawn(serve);
            }
        }
    }

    /// Serves batches that are too much for one thread, in another.
    async fn assist(self: Arc<Self>, host: Arc<Host>, handler: Arc<Handler>) {
        loop {
            let crowd = self.crowd.notified();
            self.serve_batch(&host, &handler);
            crowd.await;
        }
    }

    fn batch(&self) -> MutexGuard<'_, VecDeque<Job>> {
        self.batch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
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

    /// Runs the guest for one datagram, and sends its answer.
    async fn serve(&self, host: &Host, handler: &Handler, received: Received) {
        let Received {
            bytes,
            whole,
            sender,
        } = received;
        let peer = self.peer(&sender);
        let log = |level, message: fmt::Arguments<'_>| {
            journal::log_connection(level, &handler.name, &peer, message);
        };
        if !whole {
            let most = handler.config.limits.max_datagram;
            let message = format_args!(
                "dropped: it has more than {most} bytes (raise `max-datagram` if it may)"
            );
            return handler
                .too_large
                .warn(format_args!("{} {peer}", handler.name), message);
        }
        let Ok(program) = handler.program(&host.engines, host.cache.as_ref()).await else {
            return;
        };
        if program.is_http() {
            let why =
                "an HTTP guest cannot answer datagrams (use ListenStream= in the .socket unit)";
            return handler.report_unfit(why).await;
        }
        let (began, size) = (Instant::now(), bytes.len());
        let meter = Arc::new(Meter::default());
        let who = Arc::new(Who {
            handler: handler.name.clone(),
            config: handler.config.clone(),
            log_limit: handler.log.clone(),
            peer: Some(peer.clone()),
        });
        let datagram = Arc::new(Datagram::new(bytes, handler.config.limits.max_output));
        let stdio = Stdio::Datagram(datagram.clone());
        let end = match State::new(who, Some(stdio)) {
            Err(error) => End::Trap(error.to_string()),
            Ok(state) => {
                let limits = handler.config.limits;
                let guest = guest::run(
                    &host.engines,
                    program,
                    state,
                    limits.cpu_time,
                    meter.clone(),
                );
                match limits.timeout {
                    Some(limit) => timeout(limit, guest)
                        .await
                        .unwrap_or_else(|_| End::timed_out(limit)),
                    None => guest.await,
                }
            }
        };
        let sent = match (&end, datagram.answer()) {
            (End::Trap(_), _) => 0,
            (End::Exit(_), Ok(answer)) => match self.reply(&answer, &sender).await {
                Ok(sent) => sent,
                Err(why) => {
                    return log(
                        Level::Warning,
                        format_args!("its answer was not sent: {why}"),
                    );
                }
            },
            (End::Exit(_), Err(too_long)) => {
                return log(
                    Level::Warning,
                    format_args!("its answer was not sent: {too_long}"),
                );
            }
        };
        let (level, what) = end.report();
        let (took, cpu) = (Took(began.elapsed()), Took(meter.used()));
        log(
            level,
            format_args!("{what} ({took}, cpu {cpu}, {size} bytes in, {sent} out)"),
        );
    }

    fn peer(&self, sender: &Sender) -> Peer {
        match sender {
            Sender::Internet { from, to } => {
                Peer::of_udp(*from, to.zip(self.port).map(SocketAddr::from))
            }
            Sender::Unix(name) => {
                let abstract_name = name.abstract_name().map(|name| [b"@", name].concat());
                let name = name.path_bytes().or(abstract_name.as_deref());
                Peer::of_unix_datagram(name.unwrap_or_default())
            }
            Sender::Nobody => Peer::of_unix_datagram(b"unnamed"),
        }
    }

    /// Sends a datagram, unless it is empty or there is nobody to send it to. Returns how many bytes
    /// went.
    async fn reply(&self, answer: &[u8], to: &Sender) -> io::Result<usize> {
        if answer.is_empty() {
            return Ok(0);
        }
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

    fn try_reply(&self, answer: &[u8], to: &Sender) -> io::Result<usize> {
        match to {
            Sender::Internet { from, to } => {
                let reply = self.try_reply_udp(answer, *from, *to);
                match reply {
                    // What was sent to several machines was not sent to an address of ours.
                    Err(Errno::ENETUNREACH | Errno::EADDRNOTAVAIL | Errno::EINVAL)
                        if to.is_some() =>
                    {
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

    fn try_reply_udp(
        &self,
        answer: &[u8],
        to: SocketAddr,
        from: Option<IpAddr>,
    ) -> nix::Result<usize> {
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
                    ipi6_addr: libc::in6_addr {
                        s6_addr: ip.octets(),
                    },
                    ipi6_ifindex: 0,
                };
                let from = [ControlMessage::Ipv6PacketInfo(&info)];
                sendmsg(fd, &answer, &from, flags, Some(&to))
            }
            None => sendmsg(fd, &answer, &[], flags, Some(&to)),
        }
    }
}

/// Is there no room for another datagram now?
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// Is it an error that an earlier answer met on its way, told here (`udp(7)`), or none at all?
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Interrupted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

/// The address of ours that a datagram was sent to; if it was sent to several machines, the one of
/// the interface that it came in at.
fn ipv4_of(info: &libc::in_pktinfo) -> IpAddr {
    let ip = |address: libc::in_addr| Ipv4Addr::from(address.s_addr.to_ne_bytes());
    let destination = ip(info.ipi_addr);
    let local = ip(info.ipi_spec_dst);
    // One that came before we asked for this carries no second address.
    IpAddr::V4(if local.is_unspecified() {
        destination
    } else {
        local
    })
}

fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(ip.octets()),
    }
}

fn internet(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = || {
        address
            .as_sockaddr_in()
            .map(|a| SocketAddrV4::from(*a).into())
    };
    let v6 = || {
        address
            .as_sockaddr_in6()
            .map(|a| SocketAddrV6::from(*a).into())
    };
    v4().or_else(v6)
}
