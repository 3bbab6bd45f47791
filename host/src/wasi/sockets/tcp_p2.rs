//! `wasi:sockets/tcp` 0.2.

use super::bindings::p2::wasi::sockets::tcp::{Host, HostTcpSocket, ShutdownType};
use super::bindings::p2::wasi::sockets::tcp_create_socket;
use super::code::Result as Socket;
use super::data::Sockets;
use super::options::{Name, Setting};
use super::tcp::{Pending, TcpSocket};
use crate::net::{Stdin, Stdio, Stdout};
use crate::wasi::state::GuestState;
use std::task::{Context, Poll, Waker};
use wasmtime::Result;
use wasmtime::component::Resource;
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wasmtime_wasi::p2::{DynInputStream, DynOutputStream, DynPollable, Network, subscribe};

/// The streams of a connection.
type Streams = (Resource<DynInputStream>, Resource<DynOutputStream>);

impl GuestState {
    pub(super) fn tcp(&mut self, socket: &Resource<TcpSocket>) -> Result<&mut TcpSocket> {
        Ok(self.ctx().table.get_mut(socket)?)
    }
}

impl tcp_create_socket::Host for GuestState {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> Result<Socket<Resource<TcpSocket>>> {
        if !self.has_room() {
            return Ok(Err(ErrorCode::NewSocketLimit));
        }
        let reach = self.context.reach();
        match TcpSocket::new(reach, matches!(family, IpAddressFamily::Ipv6)) {
            Ok(socket) => Ok(Ok(self.ctx().table.push(socket)?)),
            Err(code) => Ok(Err(code)),
        }
    }
}

impl Host for GuestState {}

/// A method that reads an option.
macro_rules! getter {
    ($method:ident, $option:ident, $value:ty) => {
        fn $method(&mut self, socket: Resource<TcpSocket>) -> Result<Socket<$value>> {
            Ok(self
                .tcp(&socket)?
                .get(Name::$option)
                .and_then(|setting| match setting {
                    Setting::$option(value) => Ok(value),
                    _ => Err(ErrorCode::Unknown),
                }))
        }
    };
}

/// A method that sets an option.
macro_rules! setter {
    ($method:ident, $option:ident, $value:ty) => {
        fn $method(&mut self, socket: Resource<TcpSocket>, value: $value) -> Result<Socket<()>> {
            Ok(self.tcp(&socket)?.set(Setting::$option(value)))
        }
    };
}

impl HostTcpSocket for GuestState {
    fn start_bind(
        &mut self,
        socket: Resource<TcpSocket>,
        network: Resource<Network>,
        address: IpSocketAddress,
    ) -> Result<Socket<()>> {
        self.ctx().table.get(&network)?;
        let socket = self.tcp(&socket)?;
        if socket.pending.is_some() {
            return Ok(Err(ErrorCode::ConcurrencyConflict));
        }
        Ok(socket
            .bind(address.into())
            .map(|()| socket.pending = Some(Pending::Bind)))
    }

    fn finish_bind(&mut self, socket: Resource<TcpSocket>) -> Result<Socket<()>> {
        let socket = self.tcp(&socket)?;
        Ok(match socket.pending {
            Some(Pending::Bind) => {
                socket.pending = None;
                Ok(())
            }
            _ => Err(ErrorCode::NotInProgress),
        })
    }

    fn start_connect(
        &mut self,
        socket: Resource<TcpSocket>,
        network: Resource<Network>,
        address: IpSocketAddress,
    ) -> Result<Socket<()>> {
        self.ctx().table.get(&network)?;
        let socket = self.tcp(&socket)?;
        if socket.pending.is_some() {
            return Ok(Err(ErrorCode::ConcurrencyConflict));
        }
        Ok(socket
            .start_connect(address.into())
            .map(|()| socket.pending = Some(Pending::Connect)))
    }

    fn finish_connect(&mut self, this: Resource<TcpSocket>) -> Result<Socket<Streams>> {
        let socket = self.tcp(&this)?;
        if socket.pending != Some(Pending::Connect) {
            return Ok(Err(ErrorCode::NotInProgress));
        }
        let Poll::Ready(connected) = socket.poll_connected(&mut Context::from_waker(Waker::noop())) else {
            return Ok(Err(ErrorCode::WouldBlock));
        };
        socket.pending = None;
        let connection = match connected {
            Ok(tcp) => Stdio::Connection(tcp.connection.clone()),
            Err(code) => return Ok(Err(code)),
        };
        let table = self.ctx().table;
        let input: DynInputStream = Box::new(Stdin(connection.clone()));
        let output: DynOutputStream = Box::new(Stdout(connection));
        Ok(Ok((table.push_child(input, &this)?, table.push_child(output, &this)?)))
    }

    fn start_listen(&mut self, socket: Resource<TcpSocket>) -> Result<Socket<()>> {
        Ok(self.tcp(&socket)?.listen())
    }

    fn finish_listen(&mut self, _: Resource<TcpSocket>) -> Result<Socket<()>> {
        Ok(Err(ErrorCode::NotInProgress))
    }

    fn accept(
        &mut self,
        _: Resource<TcpSocket>,
    ) -> Result<Socket<(Resource<TcpSocket>, Resource<DynInputStream>, Resource<DynOutputStream>)>> {
        Ok(Err(ErrorCode::InvalidState))
    }

    fn local_address(&mut self, socket: Resource<TcpSocket>) -> Result<Socket<IpSocketAddress>> {
        Ok(self.tcp(&socket)?.local_address().map(Into::into))
    }

    fn remote_address(&mut self, socket: Resource<TcpSocket>) -> Result<Socket<IpSocketAddress>> {
        Ok(self.tcp(&socket)?.remote_address().map(Into::into))
    }

    fn is_listening(&mut self, _: Resource<TcpSocket>) -> Result<bool> {
        Ok(false)
    }

    fn address_family(&mut self, socket: Resource<TcpSocket>) -> Result<IpAddressFamily> {
        Ok(match self.tcp(&socket)?.is_v6 {
            true => IpAddressFamily::Ipv6,
            false => IpAddressFamily::Ipv4,
        })
    }

    fn set_listen_backlog_size(&mut self, _: Resource<TcpSocket>, value: u64) -> Result<Socket<()>> {
        Ok(if value == 0 {
            Err(ErrorCode::InvalidArgument)
        } else {
            Ok(())
        })
    }

    getter!(keep_alive_enabled, KeepAlive, bool);
    setter!(set_keep_alive_enabled, KeepAlive, bool);
    getter!(keep_alive_idle_time, IdleTime, u64);
    setter!(set_keep_alive_idle_time, IdleTime, u64);
    getter!(keep_alive_interval, Interval, u64);
    setter!(set_keep_alive_interval, Interval, u64);
    getter!(keep_alive_count, Count, u32);
    setter!(set_keep_alive_count, Count, u32);
    getter!(hop_limit, HopLimit, u8);
    setter!(set_hop_limit, HopLimit, u8);
    getter!(receive_buffer_size, ReceiveBuffer, u64);
    setter!(set_receive_buffer_size, ReceiveBuffer, u64);
    getter!(send_buffer_size, SendBuffer, u64);
    setter!(set_send_buffer_size, SendBuffer, u64);

    fn subscribe(&mut self, socket: Resource<TcpSocket>) -> Result<Resource<DynPollable>> {
        subscribe(self.ctx().table, socket)
    }

    fn shutdown(&mut self, socket: Resource<TcpSocket>, which: ShutdownType) -> Result<Socket<()>> {
        Ok(self.tcp(&socket)?.connected().map(|tcp| {
            if !matches!(which, ShutdownType::Send) {
                tcp.connection.shut_down_reading();
            }
            if !matches!(which, ShutdownType::Receive) {
                tcp.finish_writing();
            }
        }))
    }

    fn drop(&mut self, socket: Resource<TcpSocket>) -> Result<()> {
        self.ctx().table.delete(socket)?;
        Ok(())
    }
}

/// Adds `wasi:sockets/tcp`.
///
/// # Errors
/// When it was defined before.
pub fn define(linker: &mut wasmtime::component::Linker<GuestState>) -> Result<()> {
    super::bindings::p2::wasi::sockets::tcp::add_to_linker::<GuestState, Sockets>(linker, |state| state)
}

/// Adds `wasi:sockets/tcp-create-socket`.
///
/// # Errors
/// When it was defined before.
pub fn define_create(linker: &mut wasmtime::component::Linker<GuestState>) -> Result<()> {
    tcp_create_socket::add_to_linker::<GuestState, Sockets>(linker, |state| state)
}
