//! `wasi:sockets/udp` 0.2.

use super::bindings::p2::wasi::sockets::udp::{
    Host, HostIncomingDatagramStream, HostOutgoingDatagramStream, HostUdpSocket, IncomingDatagram, OutgoingDatagram,
};
use super::bindings::p2::wasi::sockets::udp_create_socket;
use super::code::Result as Socket;
use super::data::Sockets;
use super::udp::{Incoming, Outgoing, UdpSocket, nonzero};
use crate::wasi::state::GuestState;
use wasmtime::Result;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::WasiView;
use wasmtime_wasi::p2::bindings::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use wasmtime_wasi::p2::{DynPollable, Network, subscribe};

/// The most datagrams of one call.
const MOST: usize = 16;

/// The most bytes that one call returns, but for the last datagram.
const MOST_BYTES: usize = 64 * 1024;

impl GuestState {
    pub(super) fn udp(&mut self, socket: &Resource<UdpSocket>) -> Result<&mut UdpSocket> {
        Ok(self.ctx().table.get_mut(socket)?)
    }
}

impl udp_create_socket::Host for GuestState {
    fn create_udp_socket(&mut self, family: IpAddressFamily) -> Result<Socket<Resource<UdpSocket>>> {
        if !self.has_room() {
            return Ok(Err(ErrorCode::NewSocketLimit));
        }
        let reach = self.context.reach();
        match UdpSocket::new(reach, matches!(family, IpAddressFamily::Ipv6)) {
            Ok(socket) => Ok(Ok(self.ctx().table.push(socket)?)),
            Err(code) => Ok(Err(code)),
        }
    }
}

impl Host for GuestState {}

impl HostUdpSocket for GuestState {
    fn start_bind(
        &mut self,
        socket: Resource<UdpSocket>,
        network: Resource<Network>,
        address: IpSocketAddress,
    ) -> Result<Socket<()>> {
        self.ctx().table.get(&network)?;
        let socket = self.udp(&socket)?;
        if socket.is_binding {
            return Ok(Err(ErrorCode::ConcurrencyConflict));
        }
        Ok(socket.bind(address.into()).map(|()| socket.is_binding = true))
    }

    fn finish_bind(&mut self, socket: Resource<UdpSocket>) -> Result<Socket<()>> {
        let socket = self.udp(&socket)?;
        Ok(match std::mem::take(&mut socket.is_binding) {
            true => Ok(()),
            false => Err(ErrorCode::NotInProgress),
        })
    }

    async fn stream(
        &mut self,
        this: Resource<UdpSocket>,
        remote: Option<IpSocketAddress>,
    ) -> Result<Socket<(Resource<Incoming>, Resource<Outgoing>)>> {
        let socket = self.udp(&this)?;
        if !socket.is_bound {
            return Ok(Err(ErrorCode::InvalidState));
        }
        if let Err(code) = socket.connect(remote.map(Into::into)).await {
            return Ok(Err(code));
        }
        let (incoming, outgoing) = (socket.incoming(), socket.outgoing());
        let table = self.ctx().table;
        Ok(Ok((
            table.push_child(incoming, &this)?,
            table.push_child(outgoing, &this)?,
        )))
    }

    fn local_address(&mut self, socket: Resource<UdpSocket>) -> Result<Socket<IpSocketAddress>> {
        Ok(self.udp(&socket)?.local_address().map(Into::into))
    }

    fn remote_address(&mut self, socket: Resource<UdpSocket>) -> Result<Socket<IpSocketAddress>> {
        Ok(self.udp(&socket)?.remote_address().map(Into::into))
    }

    fn address_family(&mut self, socket: Resource<UdpSocket>) -> Result<IpAddressFamily> {
        Ok(match self.udp(&socket)?.is_v6 {
            true => IpAddressFamily::Ipv6,
            false => IpAddressFamily::Ipv4,
        })
    }

    fn unicast_hop_limit(&mut self, socket: Resource<UdpSocket>) -> Result<Socket<u8>> {
        Ok(Ok(self.udp(&socket)?.hop_limit))
    }

    fn set_unicast_hop_limit(&mut self, socket: Resource<UdpSocket>, value: u8) -> Result<Socket<()>> {
        let socket = self.udp(&socket)?;
        Ok(nonzero(value.into()).map(|_| socket.hop_limit = value))
    }

    fn receive_buffer_size(&mut self, socket: Resource<UdpSocket>) -> Result<Socket<u64>> {
        Ok(Ok(self.udp(&socket)?.receive_buffer))
    }

    fn set_receive_buffer_size(&mut self, socket: Resource<UdpSocket>, value: u64) -> Result<Socket<()>> {
        let socket = self.udp(&socket)?;
        Ok(nonzero(value).map(|value| socket.receive_buffer = value))
    }

    fn send_buffer_size(&mut self, socket: Resource<UdpSocket>) -> Result<Socket<u64>> {
        Ok(Ok(self.udp(&socket)?.send_buffer))
    }

    fn set_send_buffer_size(&mut self, socket: Resource<UdpSocket>, value: u64) -> Result<Socket<()>> {
        let socket = self.udp(&socket)?;
        Ok(nonzero(value).map(|value| socket.send_buffer = value))
    }

    fn subscribe(&mut self, socket: Resource<UdpSocket>) -> Result<Resource<DynPollable>> {
        subscribe(self.ctx().table, socket)
    }

    fn drop(&mut self, socket: Resource<UdpSocket>) -> Result<()> {
        self.ctx().table.delete(socket)?;
        Ok(())
    }
}

impl HostIncomingDatagramStream for GuestState {
    fn receive(&mut self, stream: Resource<Incoming>, most: u64) -> Result<Socket<Vec<IncomingDatagram>>> {
        let stream = self.ctx().table.get(&stream)?;
        let most = usize::try_from(most).unwrap_or(MOST).min(MOST);
        let (mut datagrams, mut bytes) = (Vec::new(), 0);
        while datagrams.len() < most && bytes < MOST_BYTES {
            match stream.try_receive() {
                Some(Ok((data, from))) => {
                    bytes += data.len();
                    datagrams.push(IncomingDatagram {
                        data,
                        remote_address: from.into(),
                    });
                }
                // One that comes after others is lost, as errors of UDP may be.
                Some(Err(code)) if datagrams.is_empty() => return Ok(Err(code)),
                Some(Err(_)) | None => break,
            }
        }
        Ok(Ok(datagrams))
    }

    fn subscribe(&mut self, stream: Resource<Incoming>) -> Result<Resource<DynPollable>> {
        subscribe(self.ctx().table, stream)
    }

    fn drop(&mut self, stream: Resource<Incoming>) -> Result<()> {
        self.ctx().table.delete(stream)?;
        Ok(())
    }
}

impl HostOutgoingDatagramStream for GuestState {
    fn check_send(&mut self, stream: Resource<Outgoing>) -> Result<Socket<u64>> {
        self.ctx().table.get_mut(&stream)?.permitted = MOST;
        Ok(Ok(MOST as u64))
    }

    async fn send(&mut self, stream: Resource<Outgoing>, datagrams: Vec<OutgoingDatagram>) -> Result<Socket<u64>> {
        let stream = self.ctx().table.get_mut(&stream)?;
        if datagrams.len() > std::mem::take(&mut stream.permitted) {
            return Err(wasmtime::format_err!("sent more than check-send allowed"));
        }
        let mut sent = 0;
        for datagram in datagrams {
            match stream
                .send(&datagram.data, datagram.remote_address.map(Into::into))
                .await
            {
                Ok(()) => sent += 1,
                Err(code) if sent == 0 => return Ok(Err(code)),
                Err(_) => break,
            }
        }
        Ok(Ok(sent))
    }

    fn subscribe(&mut self, stream: Resource<Outgoing>) -> Result<Resource<DynPollable>> {
        subscribe(self.ctx().table, stream)
    }

    fn drop(&mut self, stream: Resource<Outgoing>) -> Result<()> {
        self.ctx().table.delete(stream)?;
        Ok(())
    }
}

/// Adds `wasi:sockets/udp`.
///
/// # Errors
/// When it was defined before.
pub fn define(linker: &mut Linker<GuestState>) -> Result<()> {
    super::bindings::p2::wasi::sockets::udp::add_to_linker::<GuestState, Sockets>(linker, |state| state)
}

/// Adds `wasi:sockets/udp-create-socket`.
///
/// # Errors
/// When it was defined before.
pub fn define_create(linker: &mut Linker<GuestState>) -> Result<()> {
    udp_create_socket::add_to_linker::<GuestState, Sockets>(linker, |state| state)
}
