//! Connections out of the sandbox: `allow-outbound`.

use crate::config::{Host, Outbound};
use std::net::SocketAddr;
use std::sync::Arc;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::sockets::SocketAddrUse;

/// Lets the guest connect to what it was granted, by TCP, and to nothing else. Without a grant
/// there is no network at all: no sockets, no names.
pub fn allow(wasi: &mut WasiCtxBuilder, granted: &[Outbound]) {
    if granted.is_empty() {
        wasi.allow_tcp(false).allow_udp(false);
        return;
    }
    let names = granted
        .iter()
        .any(|outbound| matches!(outbound.host, Host::Name(_)));
    let granted: Arc<[Outbound]> = granted.into();
    wasi.allow_tcp(true)
        .allow_udp(false)
        .allow_ip_name_lookup(names);
    wasi.socket_addr_check(move |address, usage| {
        let granted = granted.clone();
        Box::pin(async move {
            match usage {
                // Before it connects, a socket may be bound to any address of ours; not to a port.
                SocketAddrUse::TcpBind => address.port() == 0 && address.ip().is_unspecified(),
                SocketAddrUse::TcpConnect => may_connect(&granted, address).await,
                _ => false,
            }
        })
    });
}

async fn may_connect(granted: &[Outbound], address: SocketAddr) -> bool {
    for outbound in granted
        .iter()
        .filter(|outbound| outbound.port == address.port())
    {
        match &outbound.host {
            Host::Ip(ip) if ip.to_canonical() == address.ip().to_canonical() => return true,
            Host::Ip(_) => {}
            Host::Name(name) => {
                let resolved = tokio::net::lookup_host((name.as_str(), outbound.port)).await;
                let is_named =
                    |found: SocketAddr| found.ip().to_canonical() == address.ip().to_canonical();
                if resolved.is_ok_and(|mut addresses| addresses.any(is_named)) {
                    return true;
                }
            }
        }
    }
    false
}
