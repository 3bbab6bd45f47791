//! A TCP socket of a guest. It has none of the kernel until it is connected, which `wasm-sock-egress` does.

use super::code::{self, Result};
use super::options::{self, Name, Options, Setting};
use crate::config::Scope;
use crate::egress::{Connected, Failure, Transport};
use crate::net::{Connection, Transport as Kind};
use crate::wasi::outbound::Reach;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::timeout;
use wasmtime_wasi::async_trait;
use wasmtime_wasi::p2::Pollable;
use wasmtime_wasi::p2::bindings::sockets::network::ErrorCode;
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

pub struct TcpSocket {
    reach: Arc<Reach>,
    pub is_v6: bool,
    state: State,
    options: Options,
    /// WASI 0.2: what was begun and is not finished.
    pub pending: Option<Pending>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pending {
    Bind,
    Connect,
}

enum State {
    New { is_bound: bool },
    Connecting(AbortOnDropJoinHandle<std::result::Result<Connected, Failure>>),
    Connected(Arc<Tcp>),
    Failed(ErrorCode),
}

/// A connected socket.
pub struct Tcp {
    pub connection: Arc<Connection>,
    fd: Arc<OwnedFd>,
    /// WASI 0.3: which streams the guest has taken.
    is_sending: AtomicBool,
    is_receiving: AtomicBool,
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
}

/// How long a connection is kept for what the guest has written and the server does not take.
const LINGER: Duration = Duration::from_secs(10);

impl Tcp {
    /// Sends what is buffered, and ends the guest's direction.
    pub fn finish_writing(&self) {
        match self.connection.try_flush() {
            Ok(false) => {
                let connection = self.connection.clone();
                drop(tokio::spawn(async move {
                    let _ = timeout(LINGER, connection.flush()).await;
                    connection.shut_down_writing();
                }));
            }
            // After an error there is nothing to send.
            Ok(true) | Err(_) => self.connection.shut_down_writing(),
        }
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        // Only with a runtime, which there is not at the end of the process.
        if tokio::runtime::Handle::try_current().is_ok() && matches!(self.connection.try_flush(), Ok(false)) {
            self.finish_writing();
        }
    }
}

/// An address of the unspecified network, with a port that the kernel chooses.
pub fn is_any(address: SocketAddr) -> bool {
    address.port() == 0 && address.ip().is_unspecified()
}

/// The family's unspecified address.
pub fn any(is_v6: bool) -> SocketAddr {
    match is_v6 {
        true => SocketAddr::from(([0_u16; 8], 0)),
        false => SocketAddr::from(([0_u8; 4], 0)),
    }
}

/// Checks an address to connect to, as WASI has it: of the socket's family, and of a host. (IPv6 sockets are for IPv6
/// only.)
///
/// # Errors
/// `InvalidArgument`
pub fn check_remote(address: SocketAddr, is_v6: bool) -> Result<()> {
    let is_mapped = matches!(address, SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_some());
    let is_host = !address.ip().is_unspecified() && address.port() != 0;
    match address.is_ipv6() == is_v6 && !is_mapped && is_host {
        true => Ok(()),
        false => Err(ErrorCode::InvalidArgument),
    }
}

impl TcpSocket {
    /// # Errors
    /// `AccessDenied` for a guest that may connect to nothing by TCP.
    pub fn new(reach: Arc<Reach>, is_v6: bool) -> Result<Self> {
        if !reach.may_make_socket(&Scope::Tcp, "TCP", "HOST:PORT") {
            return Err(ErrorCode::AccessDenied);
        }
        let (state, options) = (State::New { is_bound: false }, Options::default());
        Ok(Self {
            reach,
            is_v6,
            state,
            options,
            pending: None,
        })
    }

    /// Before it connects, a guest may bind a socket to the unspecified address, with a port that is chosen later.
    ///
    /// # Errors
    /// `AccessDenied` for any other address.
    pub fn bind(&mut self, address: SocketAddr) -> Result<()> {
        let State::New { is_bound } = &mut self.state else {
            return Err(ErrorCode::InvalidState);
        };
        if *is_bound {
            return Err(ErrorCode::InvalidState);
        }
        if address.is_ipv6() != self.is_v6 {
            return Err(ErrorCode::InvalidArgument);
        }
        if !is_any(address) {
            return Err(ErrorCode::AccessDenied);
        }
        *is_bound = true;
        Ok(())
    }

    /// Begins to connect.
    ///
    /// # Errors
    /// `InvalidArgument`, `InvalidState`
    pub fn start_connect(&mut self, address: SocketAddr) -> Result<()> {
        if !matches!(self.state, State::New { .. }) {
            return Err(ErrorCode::InvalidState);
        }
        check_remote(address, self.is_v6)?;
        let reach = self.reach.clone();
        let connect = async move {
            reach
                .connect(address.ip().to_string(), address.port(), Transport::Tcp)
                .await
        };
        self.state = State::Connecting(spawn(connect));
        Ok(())
    }

    /// # Errors
    /// Why there is no connection.
    pub fn poll_connected(&mut self, context: &mut Context<'_>) -> Poll<Result<Arc<Tcp>>> {
        let connected = match &mut self.state {
            State::Connecting(connect) => ready!(Pin::new(connect).poll(context)),
            State::Connected(tcp) => return Poll::Ready(Ok(tcp.clone())),
            State::Failed(code) => return Poll::Ready(Err(*code)),
            State::New { .. } => return Poll::Ready(Err(ErrorCode::InvalidState)),
        };
        Poll::Ready(match connected {
            Ok(Connected { fd, peer, local, .. }) => {
                let fd = Arc::new(fd);
                self.options.apply(&*fd, self.is_v6);
                let connection = Arc::new(Connection::new(fd.clone(), Kind::Tcp));
                let tcp = Arc::new(Tcp {
                    connection,
                    fd,
                    is_sending: AtomicBool::new(false),
                    is_receiving: AtomicBool::new(false),
                    local,
                    remote: peer,
                });
                self.state = State::Connected(tcp.clone());
                Ok(tcp)
            }
            Err(failure) => {
                let code = code::of_failure(&failure);
                self.state = State::Failed(code);
                Err(code)
            }
        })
    }

    /// # Errors
    /// `InvalidState` when it is not connected.
    pub fn connected(&self) -> Result<&Arc<Tcp>> {
        match &self.state {
            State::Connected(tcp) => Ok(tcp),
            State::Failed(code) => Err(*code),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    /// The connection, once, to send.
    ///
    /// # Errors
    /// `InvalidState` when it is not connected, or was taken.
    pub fn take_sending(&self) -> Result<Arc<Tcp>> {
        let tcp = self.connected()?;
        match tcp.is_sending.swap(true, Relaxed) {
            true => Err(ErrorCode::InvalidState),
            false => Ok(tcp.clone()),
        }
    }

    /// The connection, once, to receive.
    ///
    /// # Errors
    /// As [`Self::take_sending`].
    pub fn take_receiving(&self) -> Result<Arc<Tcp>> {
        let tcp = self.connected()?;
        match tcp.is_receiving.swap(true, Relaxed) {
            true => Err(ErrorCode::InvalidState),
            false => Ok(tcp.clone()),
        }
    }

    /// # Errors
    /// `InvalidState` when it has none.
    pub fn local_address(&self) -> Result<SocketAddr> {
        match &self.state {
            State::New { is_bound: true } => Ok(any(self.is_v6)),
            _ => self.connected()?.local.ok_or(ErrorCode::InvalidState),
        }
    }

    /// # Errors
    /// `InvalidState` when it has none.
    pub fn remote_address(&self) -> Result<SocketAddr> {
        self.connected()?.remote.ok_or(ErrorCode::InvalidState)
    }

    /// # Errors
    /// `AccessDenied`: guests do not listen. `InvalidState` when it is connected.
    pub fn listen(&self) -> Result<()> {
        match self.state {
            State::New { .. } => Err(ErrorCode::AccessDenied),
            _ => Err(ErrorCode::InvalidState),
        }
    }

    /// # Errors
    /// As [`Options::set`].
    pub fn set(&mut self, setting: Setting) -> Result<()> {
        match &self.state {
            State::Connected(tcp) => options::set(&*tcp.fd, self.is_v6, setting),
            State::Failed(code) => Err(*code),
            _ => self.options.set(setting),
        }
    }

    /// # Errors
    /// As [`options::get`].
    pub fn get(&self, name: Name) -> Result<Setting> {
        match &self.state {
            State::Connected(tcp) => options::get(&*tcp.fd, self.is_v6, name),
            State::Failed(code) => Err(*code),
            _ => Ok(self.options.get(name)),
        }
    }
}

#[async_trait]
impl Pollable for TcpSocket {
    async fn ready(&mut self) {
        if let State::Connecting(_) = self.state {
            let _ = std::future::poll_fn(|context| self.poll_connected(context)).await;
        }
    }
}
