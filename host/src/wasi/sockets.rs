//! `wasi:sockets`: outbound connections to what was granted (`allow-outbound`), and no others.
//!
//! Every component may import these interfaces; the grant is checked when they are used. `wasm-sock-egress` makes the
//! connections: the kernel lets this process make no socket.

mod bindings;
mod code;
mod names;
mod options;
mod tcp;
mod tcp_p2;
mod tcp_p3;
mod udp;
mod udp_p2;
mod udp_p3;

use super::interface::{Interface, p2, p3};
use super::state::GuestState;
use bindings::p3::wasi::sockets::types as types3;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use wasmtime::component::HasData;
use wasmtime_wasi::p2::bindings::sockets::{instance_network, network};
use wasmtime_wasi::sockets::{WasiSockets, WasiSocketsView};

pub use tcp::TcpSocket;
pub use udp::UdpSocket;

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
    p2("wasi:sockets/ip-name-lookup", names::define_p2).needs(NEEDS),
    p2("wasi:sockets/tcp", tcp_p2::define).needs(NEEDS),
    p2("wasi:sockets/tcp-create-socket", tcp_p2::define_create).needs(NEEDS),
    p2("wasi:sockets/udp", udp_p2::define).needs(NEEDS),
    p2("wasi:sockets/udp-create-socket", udp_p2::define_create).needs(NEEDS),
    p3("wasi:sockets/types", udp_p3::define).needs(NEEDS),
    p3("wasi:sockets/ip-name-lookup", names::define_p3).needs(NEEDS),
];

/// The state behind the functions of these interfaces.
struct Sockets;

impl HasData for Sockets {
    type Data<'a> = &'a mut GuestState;
}

/// An address of WASI 0.3.
fn address(address: types3::IpSocketAddress) -> SocketAddr {
    match address {
        types3::IpSocketAddress::Ipv4(v4) => {
            let (a, b, c, d) = v4.address;
            SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), v4.port).into()
        }
        types3::IpSocketAddress::Ipv6(v6) => {
            let (a, b, c, d, e, f, g, h) = v6.address;
            let ip = Ipv6Addr::new(a, b, c, d, e, f, g, h);
            SocketAddrV6::new(ip, v6.port, v6.flow_info, v6.scope_id).into()
        }
    }
}

/// The same in the other direction.
fn ip_socket_address(address: SocketAddr) -> types3::IpSocketAddress {
    match address {
        SocketAddr::V4(v4) => {
            let [a, b, c, d] = v4.ip().octets();
            let address = (a, b, c, d);
            types3::IpSocketAddress::Ipv4(types3::Ipv4SocketAddress {
                port: v4.port(),
                address,
            })
        }
        SocketAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.ip().segments();
            types3::IpSocketAddress::Ipv6(types3::Ipv6SocketAddress {
                port: v6.port(),
                flow_info: v6.flowinfo(),
                address: (a, b, c, d, e, f, g, h),
                scope_id: v6.scope_id(),
            })
        }
    }
}

fn family(is_v6: bool) -> types3::IpAddressFamily {
    match is_v6 {
        true => types3::IpAddressFamily::Ipv6,
        false => types3::IpAddressFamily::Ipv4,
    }
}
