//! A UDP socket of a guest. There is one connection through `wasm-sock-egress` to each peer: a UDP socket of the kernel
//! could send to any address.

use super::code::{self, Result};
use super::tcp::{any, check_remote, is_any};
use crate::config::Scope;
use crate::egress::{Connected, Transport};
use crate::net::{Connection, Transport as Kind};
use crate::sync::lock;
use crate::wasi::outbound::Reach;
use std::collections::HashMap;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use wasm_sock_egress_protocol::{DATAGRAM, REFUSED};
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

/// The most peers that one socket has. Each takes a descriptor.
const MOST_PEERS: usize = 16;

/// Datagrams that wait for the guest. With more, new ones are dropped, as by the kernel.
const MOST_WAITING: usize = 64;

/// The largest datagram, with its first byte.
const PACKET: usize = 64 * 1024 + 1;

/// The value of an option for which zero has no meaning.
///
/// # Errors
/// `InvalidArgument` for zero.
pub fn nonzero(value: u64) -> Result<u64> {
    match value {
        0 => Err(ErrorCode::InvalidArgument),
        value => Ok(value),
    }
}

pub struct UdpSocket {
    peers: Arc<Peers>,
    pub is_v6: bool,
    pub is_bound: bool,
    remote: Option<SocketAddr>,
    local: Option<SocketAddr>,
    /// WASI 0.2: binding was begun and is not finished.
    pub is_binding: bool,
    pub hop_limit: u8,
    pub receive_buffer: u64,
    pub send_buffer: u64,
}

/// A datagram and where it is from, or why a peer sends none.
pub type Received = Result<(Vec<u8>, SocketAddr)>;

/// The peers of a socket.
pub struct Peers {
    reach: Arc<Reach>,
    connected: tokio::sync::Mutex<HashMap<SocketAddr, Peer>>,
    sender: mpsc::Sender<Received>,
    received: Mutex<mpsc::Receiver<Received>>,
    /// A datagram that was received to find out whether there is one.
    next: Mutex<Option<Received>>,
}

struct Peer {
    connection: Arc<Connection>,
    local: Option<SocketAddr>,
    /// Receives from it.
    _receiving: AbortOnDropJoinHandle<()>,
}

/// The limit and the sizes that a new socket tells, as Linux has them.
const HOP_LIMIT: u8 = 64;
const BUFFER: u64 = 208 * 1024;

impl UdpSocket {
    /// # Errors
    /// `AccessDenied` for a guest that may send to nothing by UDP.
    pub fn new(reach: Arc<Reach>, is_v6: bool) -> Result<Self> {
        if !reach.may_make_socket(&Scope::Udp, "UDP", "udp:HOST:PORT") {
            return Err(ErrorCode::AccessDenied);
        }
        let (sender, received) = mpsc::channel(MOST_WAITING);
        let peers = Peers {
            reach,
            connected: tokio::sync::Mutex::default(),
            sender,
            received: Mutex::new(received),
            next: Mutex::default(),
        };
        Ok(Self {
            peers: Arc::new(peers),
            is_v6,
            is_bound: false,
            remote: None,
            local: None,
            is_binding: false,
            hop_limit: HOP_LIMIT,
            receive_buffer: BUFFER,
            send_buffer: BUFFER,
        })
    }

    /// As [`super::tcp::TcpSocket::bind`].
    ///
    /// # Errors
    /// As there.
    pub fn bind(&mut self, address: SocketAddr) -> Result<()> {
        if self.is_bound {
            return Err(ErrorCode::InvalidState);
        }
        if address.is_ipv6() != self.is_v6 {
            return Err(ErrorCode::InvalidArgument);
        }
        if !is_any(address) {
            return Err(ErrorCode::AccessDenied);
        }
        self.is_bound = true;
        Ok(())
    }

    /// Sends to, and receives from, this address only.
    ///
    /// # Errors
    /// Why it cannot be reached.
    pub async fn connect(&mut self, remote: Option<SocketAddr>) -> Result<()> {
        self.remote = None;
        if let Some(remote) = remote {
            check_remote(remote, self.is_v6)?;
            self.peers.connected.lock().await.retain(|peer, _| *peer == remote);
            self.local = self.peers.local(remote).await?;
            self.remote = Some(remote);
        }
        self.is_bound = true;
        Ok(())
    }

    /// # Errors
    /// `InvalidState` when it is not connected.
    pub fn disconnect(&mut self) -> Result<()> {
        self.remote.take().map(drop).ok_or(ErrorCode::InvalidState)
    }

    pub fn incoming(&self) -> Incoming {
        Incoming {
            peers: self.peers.clone(),
            remote: self.remote,
        }
    }

    pub fn outgoing(&self) -> Outgoing {
        Outgoing {
            peers: self.peers.clone(),
            is_v6: self.is_v6,
            remote: self.remote,
            permitted: 0,
        }
    }

    /// # Errors
    /// `InvalidState` when it has none.
    pub fn local_address(&self) -> Result<SocketAddr> {
        match self.is_bound {
            true => Ok(self.local.unwrap_or(any(self.is_v6))),
            false => Err(ErrorCode::InvalidState),
        }
    }

    /// # Errors
    /// `InvalidState` when it is not connected.
    pub fn remote_address(&self) -> Result<SocketAddr> {
        self.remote.ok_or(ErrorCode::InvalidState)
    }
}

impl Peers {
    async fn local(&self, remote: SocketAddr) -> Result<Option<SocketAddr>> {
        self.with_peer(remote, |peer| peer.local).await
    }

    /// Calls `with` for the peer, which is connected first if it is new.
    async fn with_peer<T>(&self, remote: SocketAddr, with: impl FnOnce(&Peer) -> T) -> Result<T> {
        let mut connected = self.connected.lock().await;
        if let Some(peer) = connected.get(&remote) {
            return Ok(with(peer));
        }
        if connected.len() >= MOST_PEERS {
            return Err(ErrorCode::NewSocketLimit);
        }
        let host = remote.ip().to_string();
        let made = self.reach.connect(host, remote.port(), Transport::Udp).await;
        let Connected { fd, local, .. } = made.map_err(|failure| code::of_failure(&failure))?;
        let connection = Arc::new(Connection::new(Arc::new(fd), Kind::Packets));
        let receive = receive(connection.clone(), remote, self.sender.clone());
        let peer = Peer {
            connection,
            local,
            _receiving: spawn(receive),
        };
        let result = with(&peer);
        connected.insert(remote, peer);
        Ok(result)
    }

    async fn send(&self, remote: SocketAddr, data: &[u8]) -> Result<()> {
        if data.len() >= PACKET {
            return Err(ErrorCode::DatagramTooLarge);
        }
        let connection = self.with_peer(remote, |peer| peer.connection.clone()).await?;
        let packet = [IoSlice::new(&[DATAGRAM]), IoSlice::new(data)];
        let sent = connection.send_some(&packet).await;
        if let Err(error) = sent {
            // The next datagram makes another connection.
            self.connected.lock().await.remove(&remote);
            return Err(code::of_error(&error));
        }
        Ok(())
    }
}

/// Receives the datagrams of a peer. Ends with its connection.
async fn receive(connection: Arc<Connection>, from: SocketAddr, to: mpsc::Sender<Received>) {
    let mut packet = vec![0; PACKET];
    while let Ok(length) = connection.recv(&mut packet).await {
        let received = match packet.get(..length) {
            Some([DATAGRAM, datagram @ ..]) => Ok((datagram.to_vec(), from)),
            Some([REFUSED, ..]) => Err(ErrorCode::ConnectionRefused),
            _ => return,
        };
        let _ = to.try_send(received);
    }
}

/// The datagrams that a socket receives.
pub struct Incoming {
    peers: Arc<Peers>,
    /// Others are dropped.
    remote: Option<SocketAddr>,
}

impl Incoming {
    /// The next datagram, without waiting.
    pub fn try_receive(&self) -> Option<Received> {
        let next = lock(&self.peers.next).take();
        next.or_else(|| {
            let mut received = lock(&self.peers.received);
            std::iter::from_fn(|| received.try_recv().ok()).find(|received| self.is_wanted(received))
        })
    }

    /// Waits for the next datagram.
    pub async fn receive(&self) -> Received {
        std::future::poll_fn(|context| {
            if let Some(received) = self.try_receive() {
                return std::task::Poll::Ready(received);
            }
            let mut receiver = lock(&self.peers.received);
            loop {
                match std::task::ready!(receiver.poll_recv(context)) {
                    Some(received) if !self.is_wanted(&received) => {}
                    Some(received) => return std::task::Poll::Ready(received),
                    None => return std::task::Poll::Ready(Err(ErrorCode::InvalidState)),
                }
            }
        })
        .await
    }

    fn is_wanted(&self, received: &Received) -> bool {
        match (received, self.remote) {
            (Ok((_, from)), Some(remote)) => *from == remote,
            _ => true,
        }
    }
}

#[async_trait]
impl Pollable for Incoming {
    async fn ready(&mut self) {
        let received = self.receive().await;
        *lock(&self.peers.next) = Some(received);
    }
}

/// The datagrams that a socket sends.
pub struct Outgoing {
    peers: Arc<Peers>,
    is_v6: bool,
    remote: Option<SocketAddr>,
    /// WASI 0.2: as many as `check-send` has permitted.
    pub permitted: usize,
}

impl Outgoing {
    /// # Errors
    /// Why it cannot be sent.
    pub async fn send(&self, data: &[u8], to: Option<SocketAddr>) -> Result<()> {
        let remote = match (self.remote, to) {
            (None, None) => return Err(ErrorCode::InvalidArgument),
            (Some(remote), Some(to)) if remote != to => return Err(ErrorCode::InvalidArgument),
            (Some(remote), _) => remote,
            (None, Some(to)) => to,
        };
        check_remote(remote, self.is_v6)?;
        self.peers.send(remote, data).await
    }
}

#[async_trait]
impl Pollable for Outgoing {
    async fn ready(&mut self) {}
}

#[async_trait]
impl Pollable for UdpSocket {
    async fn ready(&mut self) {}
}
