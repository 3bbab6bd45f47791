//! `wasi:sockets`: outbound TCP connections to what was granted (`allow-outbound`), and no others.
//!
//! Every component may import these interfaces; the grant is checked when they are used ([`super::outbound`]).

use super::interface::{Interface, p2, p3, redefine};
use super::resolver;
use super::state::GuestState;
use wasmtime::component::{Linker, Resource};
use wasmtime::{Result, StoreContextMut};
use wasmtime_wasi::p2::bindings::sockets::network::{self, ErrorCode, Host as _, IpAddressFamily};
use wasmtime_wasi::p2::bindings::sockets::{instance_network, tcp, tcp_create_socket, udp, udp_create_socket};
use wasmtime_wasi::p2::{TcpSocket, UdpSocket};
use wasmtime_wasi::p3::bindings::sockets::types;
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

/// The setting that `inspect` shows for these interfaces.
const NEEDS: &str = "allow-outbound, to connect";

pub const INTERFACES: &[Interface] = &[
    p2("wasi:sockets/network", |l| {
        let options = network::LinkOptions::default();
        network::add_to_linker::<GuestState, WasiSockets>(l, &options, GuestState::sockets)
    })
    .needs(NEEDS),
    p2("wasi:sockets/instance-network", |l| {
        instance_network::add_to_linker::<GuestState, WasiSockets>(l, GuestState::sockets)
    })
    .needs(NEEDS),
    p2("wasi:sockets/ip-name-lookup", resolver::define_p2).needs(NEEDS),
    p2("wasi:sockets/tcp", |l| {
        tcp::add_to_linker::<GuestState, WasiSockets>(l, GuestState::sockets)
    })
    .needs(NEEDS),
    p2("wasi:sockets/tcp-create-socket", define_tcp_create_socket).needs(NEEDS),
    p2("wasi:sockets/udp", |l| {
        udp::add_to_linker::<GuestState, WasiSockets>(l, GuestState::sockets)
    })
    .needs(NEEDS),
    p2("wasi:sockets/udp-create-socket", define_udp_create_socket).needs(NEEDS),
    p3("wasi:sockets/types", |l| {
        types::add_to_linker::<GuestState, WasiSockets>(l, GuestState::sockets)
    })
    .needs(NEEDS),
    p3("wasi:sockets/ip-name-lookup", resolver::define_p3).needs(NEEDS),
];

/// Defines the interface, with a `create-tcp-socket` that enforces the limit of open descriptors. Likewise for UDP.
fn define_tcp_create_socket(linker: &mut Linker<GuestState>) -> Result<()> {
    tcp_create_socket::add_to_linker::<GuestState, WasiSockets>(linker, GuestState::sockets)?;
    redefine(linker, "wasi:sockets/tcp-create-socket", |instance| {
        instance.func_wrap("create-tcp-socket", create_tcp_socket)
    })
}

fn define_udp_create_socket(linker: &mut Linker<GuestState>) -> Result<()> {
    udp_create_socket::add_to_linker::<GuestState, WasiSockets>(linker, GuestState::sockets)?;
    redefine(linker, "wasi:sockets/udp-create-socket", |instance| {
        instance.func_wrap_async("create-udp-socket", |store, arguments| {
            Box::new(create_udp_socket(store, arguments))
        })
    })
}

fn create_tcp_socket(
    mut store: StoreContextMut<'_, GuestState>,
    (family,): (IpAddressFamily,),
) -> Result<(Result<Resource<TcpSocket>, ErrorCode>,)> {
    let state = store.data_mut();
    if !state.has_room() {
        return Ok((Err(ErrorCode::NewSocketLimit),));
    }
    let mut view = state.sockets();
    Ok((match tcp_create_socket::Host::create_tcp_socket(&mut view, family) {
        Ok(socket) => Ok(socket),
        Err(error) => Err(view.convert_error_code(error)?),
    },))
}

async fn create_udp_socket(
    mut store: StoreContextMut<'_, GuestState>,
    (family,): (IpAddressFamily,),
) -> Result<(Result<Resource<UdpSocket>, ErrorCode>,)> {
    let state = store.data_mut();
    if !state.has_room() {
        return Ok((Err(ErrorCode::NewSocketLimit),));
    }
    let mut view = state.sockets();
    Ok((
        match udp_create_socket::Host::create_udp_socket(&mut view, family).await {
            Ok(socket) => Ok(socket),
            Err(error) => Err(view.convert_error_code(error)?),
        },
    ))
}
