//! The interfaces whose sockets are connected by `wasm-sock-egress`. Those of Wasmtime are bound to its own sockets.

/// WASI 0.2
pub mod p2 {
    wasmtime::component::bindgen!({
        path: "wit/sockets-p2",
        world: "host",
        imports: {
            "wasi:sockets/udp.[method]udp-socket.stream": async | trappable,
            "wasi:sockets/udp.[method]outgoing-datagram-stream.send": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:io/error": wasmtime_wasi::p2::bindings::io::error,
            "wasi:io/poll": wasmtime_wasi::p2::bindings::io::poll,
            "wasi:io/streams": wasmtime_wasi::p2::bindings::io::streams,
            "wasi:clocks/monotonic-clock": wasmtime_wasi::p2::bindings::clocks::monotonic_clock,
            "wasi:sockets/network": wasmtime_wasi::p2::bindings::sockets::network,
            "wasi:sockets/tcp.tcp-socket": super::super::tcp::TcpSocket,
            "wasi:sockets/udp.udp-socket": super::super::udp::UdpSocket,
            "wasi:sockets/udp.incoming-datagram-stream": super::super::udp::Incoming,
            "wasi:sockets/udp.outgoing-datagram-stream": super::super::udp::Outgoing,
        },
    });
}

/// WASI 0.3
pub mod p3 {
    wasmtime::component::bindgen!({
        path: "wit/sockets-p3",
        world: "host",
        imports: {
            "wasi:sockets/types.[method]tcp-socket.send": store | trappable,
            "wasi:sockets/types.[method]tcp-socket.receive": store | trappable,
            "wasi:sockets/types.[method]udp-socket.connect": async | trappable,
            default: trappable,
        },
        with: {
            "wasi:clocks/types": wasmtime_wasi::p3::bindings::clocks::types,
            "wasi:sockets/types.tcp-socket": super::super::tcp::TcpSocket,
            "wasi:sockets/types.udp-socket": super::super::udp::UdpSocket,
        },
    });
}
