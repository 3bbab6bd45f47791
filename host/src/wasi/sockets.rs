//! `wasi:sockets`: outbound connections to what was granted (`allow-outbound`), and no others.
//!
//! Every component may import these interfaces; the grant is checked when they are used. `wasm-sock-egress` makes the
//! connections: the kernel lets this process make no socket.

mod address;
mod bindings;
mod code;
mod data;
mod names;
mod options;
pub(super) mod tcp;
mod tcp_p2;
mod tcp_p3;
pub(super) mod udp;
mod udp_p2;
mod udp_p3;

use super::interface::{Interface, p2, p3};
use super::state::GuestState;
use wasmtime_wasi::p2::bindings::sockets::{instance_network, network};
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
    p2("wasi:sockets/ip-name-lookup", names::define_p2).needs(NEEDS),
    p2("wasi:sockets/tcp", tcp_p2::define).needs(NEEDS),
    p2("wasi:sockets/tcp-create-socket", tcp_p2::define_create).needs(NEEDS),
    p2("wasi:sockets/udp", udp_p2::define).needs(NEEDS),
    p2("wasi:sockets/udp-create-socket", udp_p2::define_create).needs(NEEDS),
    p3("wasi:sockets/types", udp_p3::define).needs(NEEDS),
    p3("wasi:sockets/ip-name-lookup", names::define_p3).needs(NEEDS),
];
