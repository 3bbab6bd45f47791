use crate::client::{Egress, PATIENCE};
use crate::servers;
use std::time::{Duration, Instant};
use wasm_sock_egress_protocol::{Ask, Failure, Transport};

/// An address at which connecting neither succeeds nor fails: a listener whose queue is full.
fn black_hole() -> (std::net::SocketAddr, Vec<std::net::TcpStream>, std::os::fd::OwnedFd) {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    let listener = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(
        &listener,
        &"127.0.0.1:0".parse::<std::net::SocketAddr>().expect("an address"),
    )
    .expect("a port");
    listen(&listener, 0).expect("a listener");
    let address = std::net::TcpListener::from(listener.try_clone().expect("a socket"))
        .local_addr()
        .expect("an address");
    let fill = |_| std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)).ok();
    let held = (0..4).filter_map(fill).collect();
    (address, held, listener)
}

#[test]
fn a_server_that_does_not_answer_costs_the_time_out_and_no_more() {
    let (address, _held, _listener) = black_hole();
    let egress = Egress::new("allow-outbound = ['127.0.0.1:1-65535']");
    let (host, began) = (egress.host(), Instant::now());
    let ask = Ask::Connect {
        host: "127.0.0.1".into(),
        port: address.port(),
        transport: Transport::Tcp,
    };
    host.send(1, "a", ask, Duration::from_millis(300));
    assert_eq!(host.receive().expect("a reply").1.map(drop), Err(Failure::TimedOut));
    assert!(began.elapsed() < PATIENCE / 4, "{:?}", began.elapsed());
}

#[test]
fn a_handler_that_makes_too_many_requests_harms_no_other() {
    let (hole, _held, _listener) = black_hole();
    let server = servers::echo("127.0.0.1:0");
    let egress = Egress::new("allow-outbound = ['127.0.0.1:1-65535']");
    let more = format!(
        "[handler.a]\nallow-outbound = ['127.0.0.1:1-65535']\n[handler.b]\nallow-outbound = ['127.0.0.1:{}']",
        server.port()
    );
    std::fs::write(egress.folder.path().join("wasm-sock.toml"), more).expect("settings");
    let (greedy, other) = (egress.host(), egress.host());
    let ask = |port| Ask::Connect {
        host: "127.0.0.1".into(),
        port,
        transport: Transport::Tcp,
    };
    for id in 0..300 {
        greedy.send(id, "a", ask(hole.port()), Duration::from_secs(60));
    }
    // Those that are too many are answered at once.
    let refused = (0..300 - 256).map(|_| greedy.receive().expect("a reply").1.map(drop));
    assert!(refused.into_iter().all(|result| result == Err(Failure::Limit)));
    let (_, fd) = other.ask("b", ask(server.port())).expect("a connection");
    assert!(fd.is_some());
}
