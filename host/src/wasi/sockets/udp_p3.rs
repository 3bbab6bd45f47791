//! `udp-socket` of `wasi:sockets/types` 0.3.

use super::address::{address, family, ip_socket_address};
use super::bindings::p3::wasi::sockets::types::{
    ErrorCode, Host, HostUdpSocket, HostUdpSocketWithStore, IpAddressFamily, IpSocketAddress,
};
use super::code;
use super::data::Sockets;
use super::udp::{UdpSocket, nonzero};
use crate::wasi::state::GuestState;
use wasmtime::Result;
use wasmtime::component::{Accessor, Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::sockets::network;

type Socket<T> = std::result::Result<T, ErrorCode>;

impl Host for GuestState {}

impl HostUdpSocketWithStore<GuestState> for Sockets {
    async fn send(
        store: &Accessor<GuestState, Self>,
        socket: Resource<UdpSocket>,
        data: Vec<u8>,
        remote: Option<IpSocketAddress>,
    ) -> Result<Socket<()>> {
        let outgoing = store.with(|mut access| {
            let socket = access.get().udp(&socket)?;
            // WASI 0.3 binds a socket that sends.
            socket.is_bound = true;
            wasmtime::error::Ok(socket.outgoing())
        })?;
        let sent = outgoing.send(&data, remote.map(address)).await;
        Ok(sent.map_err(code::p3))
    }

    async fn receive(
        store: &Accessor<GuestState, Self>,
        socket: Resource<UdpSocket>,
    ) -> Result<Socket<(Vec<u8>, IpSocketAddress)>> {
        let incoming = store.with(|mut access| {
            let socket = access.get().udp(&socket)?;
            wasmtime::error::Ok(socket.is_bound.then(|| socket.incoming()))
        })?;
        let Some(incoming) = incoming else {
            return Ok(Err(ErrorCode::InvalidState));
        };
        let received = incoming.receive().await;
        Ok(received
            .map(|(data, from)| (data, ip_socket_address(from)))
            .map_err(code::p3))
    }
}

impl HostUdpSocket for GuestState {
    fn create(&mut self, address_family: IpAddressFamily) -> Result<Socket<Resource<UdpSocket>>> {
        if !self.has_room() {
            return Ok(Err(code::p3(network::ErrorCode::NewSocketLimit)));
        }
        let reach = self.context.reach();
        match UdpSocket::new(reach, matches!(address_family, IpAddressFamily::Ipv6)) {
            Ok(socket) => Ok(Ok(self.ctx().table.push(socket)?)),
            Err(code) => Ok(Err(code::p3(code))),
        }
    }

    fn bind(&mut self, socket: Resource<UdpSocket>, local: IpSocketAddress) -> Result<Socket<()>> {
        Ok(self.udp(&socket)?.bind(address(local)).map_err(code::p3))
    }

    async fn connect(&mut self, socket: Resource<UdpSocket>, remote: IpSocketAddress) -> Result<Socket<()>> {
        let connected = self.udp(&socket)?.connect(Some(address(remote))).await;
        Ok(connected.map_err(code::p3))
    }

    fn disconnect(&mut self, socket: Resource<UdpSocket>) -> Result<Socket<()>> {
        Ok(self.udp(&socket)?.disconnect().map_err(code::p3))
    }

    fn get_local_address(&mut self, socket: Resource<UdpSocket>) -> Result<Socket<IpSocketAddress>> {
        let local = self.udp(&socket)?.local_address();
        Ok(local.map(ip_socket_address).map_err(code::p3))
    }

    fn get_remote_address(&mut self, socket: Resource<UdpSocket>) -> Result<Socket<IpSocketAddress>> {
        let remote = self.udp(&socket)?.remote_address();
        Ok(remote.map(ip_socket_address).map_err(code::p3))
    }

    fn get_address_family(&mut self, socket: Resource<UdpSocket>) -> Result<IpAddressFamily> {
        Ok(family(self.udp(&socket)?.is_v6))
    }

    fn get_unicast_hop_limit(&mut self, socket: Resource<UdpSocket>) -> Result<Socket<u8>> {
        Ok(Ok(self.udp(&socket)?.hop_limit))
    }

    fn set_unicast_hop_limit(&mut self, socket: Resource<UdpSocket>, value: u8) -> Result<Socket<()>> {
        let socket = self.udp(&socket)?;
        Ok(nonzero(value.into())
            .map(|_| socket.hop_limit = value)
            .map_err(code::p3))
    }

    fn get_receive_buffer_size(&mut self, socket: Resource<UdpSocket>) -> Result<Socket<u64>> {
        Ok(Ok(self.udp(&socket)?.receive_buffer))
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<UdpSocket>, value: u64) -> Result<Socket<()>> {
        let socket = self.udp(&socket)?;
        Ok(nonzero(value)
            .map(|value| socket.receive_buffer = value)
            .map_err(code::p3))
    }

    fn get_send_buffer_size(&mut self, socket: Resource<UdpSocket>) -> Result<Socket<u64>> {
        Ok(Ok(self.udp(&socket)?.send_buffer))
    }

    fn set_send_buffer_size(&mut self, socket: Resource<UdpSocket>, value: u64) -> Result<Socket<()>> {
        let socket = self.udp(&socket)?;
        Ok(nonzero(value).map(|value| socket.send_buffer = value).map_err(code::p3))
    }

    fn drop(&mut self, socket: Resource<UdpSocket>) -> Result<()> {
        self.ctx().table.delete(socket)?;
        Ok(())
    }
}

/// Adds `wasi:sockets/types`.
///
/// # Errors
/// When it was defined before.
pub fn define(linker: &mut Linker<GuestState>) -> Result<()> {
    super::bindings::p3::wasi::sockets::types::add_to_linker::<GuestState, Sockets>(linker, |state| state)
}
