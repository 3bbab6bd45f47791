//! `tcp-socket` of `wasi:sockets/types` 0.3.

use super::address::{address, family, ip_socket_address};
use super::bindings::p3::wasi::sockets::types::{
    ErrorCode, HostTcpSocket, HostTcpSocketWithStore, IpAddressFamily, IpSocketAddress,
};
use super::code;
use super::data::Sockets;
use super::options::{Name, Setting};
use super::tcp::{Tcp, TcpSocket};
use crate::net::ConnectionIo;
use crate::wasi::state::GuestState;
use bytes::BytesMut;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;
use wasmtime::component::{
    Access, Accessor, Destination, FutureReader, Resource, Source, StreamConsumer, StreamProducer, StreamReader,
    StreamResult,
};
use wasmtime::{AsContextMut as _, Result, StoreContextMut};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::sockets::network;

type Socket<T> = std::result::Result<T, ErrorCode>;
type Outcome = Socket<()>;

/// The most that one read transfers, in bytes, when the guest does not say how much.
const CHUNK: usize = 8 * 1024;

fn failed(error: &io::Error) -> ErrorCode {
    match error.kind() {
        io::ErrorKind::BrokenPipe => ErrorCode::ConnectionBroken,
        _ => code::p3(code::of_error(error)),
    }
}

/// A half of a connection, which is shut down when it ends, and who is told how.
struct Half {
    io: ConnectionIo,
    told: Option<oneshot::Sender<Outcome>>,
}

impl Half {
    fn end(&mut self, outcome: Outcome) {
        if let Some(told) = self.told.take() {
            // The guest may have dropped the future.
            let _ = told.send(outcome);
        }
    }
}

/// What the guest receives.
struct Receiving(Half);

impl Drop for Receiving {
    fn drop(&mut self) {
        self.0.end(Ok(()));
        self.0.io.0.shut_down_reading();
    }
}

impl<D> StreamProducer<D> for Receiving {
    type Item = u8;
    type Buffer = BytesMut;

    fn poll_produce<'a>(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut store: StoreContextMut<'a, D>,
        destination: Destination<'a, u8, BytesMut>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        let pending = |finish| match finish {
            true => Poll::Ready(Ok(StreamResult::Cancelled)),
            false => Poll::Pending,
        };
        if self.0.told.is_none() {
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        // A read of no bytes asks whether there are any.
        if destination.remaining(store.as_context_mut()) == Some(0) {
            return match self.0.io.poll_readable(context) {
                Poll::Ready(()) => Poll::Ready(Ok(StreamResult::Completed)),
                Poll::Pending => pending(finish),
            };
        }
        let mut destination = destination.as_direct(store, CHUNK);
        let mut buffer = ReadBuf::new(destination.remaining());
        let read = Pin::new(&mut self.0.io).poll_read(context, &mut buffer);
        let count = buffer.filled().len();
        let ended = match read {
            Poll::Pending => return pending(finish),
            Poll::Ready(Ok(())) if count > 0 => {
                destination.mark_written(count);
                return Poll::Ready(Ok(StreamResult::Completed));
            }
            Poll::Ready(Ok(())) => Ok(()),
            Poll::Ready(Err(error)) => Err(failed(&error)),
        };
        self.0.end(ended);
        Poll::Ready(Ok(StreamResult::Dropped))
    }
}

/// What the guest sends.
struct Sending(Half);

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.end(Ok(()));
        self.0.io.0.shut_down_writing();
    }
}

impl<D> StreamConsumer<D> for Sending {
    type Item = u8;

    fn poll_consume(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        store: StoreContextMut<'_, D>,
        source: Source<'_, u8>,
        finish: bool,
    ) -> Poll<Result<StreamResult>> {
        if self.0.told.is_none() {
            return Poll::Ready(Ok(StreamResult::Dropped));
        }
        let mut source = source.as_direct(store);
        // A write of no bytes asks whether there is room, which the next write finds out.
        if source.remaining().is_empty() {
            return Poll::Ready(Ok(StreamResult::Completed));
        }
        match Pin::new(&mut self.0.io).poll_write(context, source.remaining()) {
            Poll::Ready(Ok(count)) => {
                source.mark_read(count);
                Poll::Ready(Ok(StreamResult::Completed))
            }
            Poll::Ready(Err(error)) => {
                self.0.end(Err(failed(&error)));
                Poll::Ready(Ok(StreamResult::Dropped))
            }
            Poll::Pending if finish => Poll::Ready(Ok(StreamResult::Cancelled)),
            Poll::Pending => Poll::Pending,
        }
    }
}

fn half(tcp: &Arc<Tcp>) -> (Half, oneshot::Receiver<Outcome>) {
    let (told, outcome) = oneshot::channel();
    let io = ConnectionIo(tcp.connection.clone());
    (Half { io, told: Some(told) }, outcome)
}

impl HostTcpSocketWithStore<GuestState> for Sockets {
    async fn connect(
        store: &Accessor<GuestState, Self>,
        socket: Resource<TcpSocket>,
        remote: IpSocketAddress,
    ) -> Result<Socket<()>> {
        let started = store.with(|mut access| Ok(access.get().tcp(&socket)?.start_connect(address(remote))));
        let started: Result<code::Result<()>> = started;
        if let Err(code) = started? {
            return Ok(Err(code::p3(code)));
        }
        let poll = |context: &mut Context<'_>| {
            store.with(|mut access| match access.get().tcp(&socket) {
                Ok(socket) => socket.poll_connected(context).map(Ok),
                Err(error) => Poll::Ready(Err(error)),
            })
        };
        let connected = std::future::poll_fn(poll).await?;
        Ok(connected.map(drop).map_err(code::p3))
    }

    fn send(
        mut store: Access<'_, GuestState, Self>,
        socket: Resource<TcpSocket>,
        mut data: StreamReader<u8>,
    ) -> Result<FutureReader<Outcome>> {
        match store.get().tcp(&socket)?.take_sending() {
            Ok(tcp) => {
                let (half, outcome) = half(&tcp);
                data.pipe(&mut store, Sending(half))?;
                FutureReader::new(&mut store, outcome)
            }
            Err(code) => {
                data.close(&mut store)?;
                FutureReader::new(&mut store, async move { wasmtime::error::Ok(Err(code::p3(code))) })
            }
        }
    }

    fn receive(
        mut store: Access<'_, GuestState, Self>,
        socket: Resource<TcpSocket>,
    ) -> Result<(StreamReader<u8>, FutureReader<Outcome>)> {
        match store.get().tcp(&socket)?.take_receiving() {
            Ok(tcp) => {
                let (half, outcome) = half(&tcp);
                let stream = StreamReader::new(&mut store, Receiving(half))?;
                Ok((stream, FutureReader::new(&mut store, outcome)?))
            }
            Err(code) => {
                let stream = StreamReader::new(&mut store, std::iter::empty())?;
                let failed = async move { wasmtime::error::Ok(Err(code::p3(code))) };
                Ok((stream, FutureReader::new(&mut store, failed)?))
            }
        }
    }
}

/// A method that reads an option.
macro_rules! getter {
    ($method:ident, $option:ident, $value:ty) => {
        fn $method(&mut self, socket: Resource<TcpSocket>) -> Result<Socket<$value>> {
            Ok(match self.tcp(&socket)?.get(Name::$option) {
                Ok(Setting::$option(value)) => Ok(value),
                Ok(_) => Err(ErrorCode::Other(None)),
                Err(code) => Err(code::p3(code)),
            })
        }
    };
}

/// A method that sets an option.
macro_rules! setter {
    ($method:ident, $option:ident, $value:ty) => {
        fn $method(&mut self, socket: Resource<TcpSocket>, value: $value) -> Result<Socket<()>> {
            Ok(self.tcp(&socket)?.set(Setting::$option(value)).map_err(code::p3))
        }
    };
}

impl HostTcpSocket for GuestState {
    fn create(&mut self, family: IpAddressFamily) -> Result<Socket<Resource<TcpSocket>>> {
        if !self.has_room() {
            return Ok(Err(code::p3(network::ErrorCode::NewSocketLimit)));
        }
        let reach = self.context.reach();
        match TcpSocket::new(reach, matches!(family, IpAddressFamily::Ipv6)) {
            Ok(socket) => Ok(Ok(self.ctx().table.push(socket)?)),
            Err(code) => Ok(Err(code::p3(code))),
        }
    }

    fn bind(&mut self, socket: Resource<TcpSocket>, local: IpSocketAddress) -> Result<Socket<()>> {
        Ok(self.tcp(&socket)?.bind(address(local)).map_err(code::p3))
    }

    fn listen(&mut self, socket: Resource<TcpSocket>) -> Result<Socket<StreamReader<Resource<TcpSocket>>>> {
        let refused = self.tcp(&socket)?.listen().err();
        Ok(Err(code::p3(refused.unwrap_or(network::ErrorCode::AccessDenied))))
    }

    fn get_local_address(&mut self, socket: Resource<TcpSocket>) -> Result<Socket<IpSocketAddress>> {
        let local = self.tcp(&socket)?.local_address();
        Ok(local.map(ip_socket_address).map_err(code::p3))
    }

    fn get_remote_address(&mut self, socket: Resource<TcpSocket>) -> Result<Socket<IpSocketAddress>> {
        let remote = self.tcp(&socket)?.remote_address();
        Ok(remote.map(ip_socket_address).map_err(code::p3))
    }

    fn get_is_listening(&mut self, _: Resource<TcpSocket>) -> Result<bool> {
        Ok(false)
    }

    fn get_address_family(&mut self, socket: Resource<TcpSocket>) -> Result<IpAddressFamily> {
        Ok(family(self.tcp(&socket)?.is_v6))
    }

    fn set_listen_backlog_size(&mut self, _: Resource<TcpSocket>, value: u64) -> Result<Socket<()>> {
        Ok(if value == 0 {
            Err(ErrorCode::InvalidArgument)
        } else {
            Ok(())
        })
    }

    getter!(get_keep_alive_enabled, KeepAlive, bool);
    setter!(set_keep_alive_enabled, KeepAlive, bool);
    getter!(get_keep_alive_idle_time, IdleTime, u64);
    setter!(set_keep_alive_idle_time, IdleTime, u64);
    getter!(get_keep_alive_interval, Interval, u64);
    setter!(set_keep_alive_interval, Interval, u64);
    getter!(get_keep_alive_count, Count, u32);
    setter!(set_keep_alive_count, Count, u32);
    getter!(get_hop_limit, HopLimit, u8);
    setter!(set_hop_limit, HopLimit, u8);
    getter!(get_receive_buffer_size, ReceiveBuffer, u64);
    setter!(set_receive_buffer_size, ReceiveBuffer, u64);
    getter!(get_send_buffer_size, SendBuffer, u64);
    setter!(set_send_buffer_size, SendBuffer, u64);

    fn drop(&mut self, socket: Resource<TcpSocket>) -> Result<()> {
        self.ctx().table.delete(socket)?;
        Ok(())
    }
}
