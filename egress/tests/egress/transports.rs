use crate::client::{Egress, denied};
use crate::servers;
use std::io::{Read, Write};
use std::net::SocketAddr;
use wasm_sock_egress_protocol::{Answer, Ask, DATAGRAM, Failure, REFUSED, Transport};

#[test]
fn a_guest_reaches_what_it_was_granted_by_tcp() {
    let server = servers::echo("127.0.0.1:0");
    let egress = Egress::new(&format!("allow-outbound = ['127.0.0.1:{}']", server.port()));
    let host = egress.host();
    for transport in [Transport::Tcp, Transport::Http] {
        let connection = host.connection("127.0.0.1", server.port(), transport);
        let Answer::Connected {
            peer,
            local: Some(_),
            protocol: None,
        } = connection.answer
        else {
            panic!("{:?}", connection.answer);
        };
        assert_eq!(peer, Some(server));
        assert_eq!(connection.exchange("hello"), "HELLO");
    }
}

#[test]
fn a_refused_connection_is_told() {
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port");
    let egress = Egress::new("allow-outbound = ['127.0.0.1:1-65535']");
    let answered = egress.host().reach("127.0.0.1", unused.port(), Transport::Tcp);
    assert_eq!(answered.map(drop), Err(Failure::Refused));
}

#[test]
fn datagrams_go_to_one_peer_and_come_from_it() {
    let server = servers::udp_echo("127.0.0.1:0");
    let egress = Egress::new(&format!("allow-outbound = ['udp:127.0.0.1:{}']", server.port()));
    let mut connection = egress.host().connection("127.0.0.1", server.port(), Transport::Udp);
    for text in ["a", "", &"b".repeat(60_000)] {
        let packet = [&[DATAGRAM], text.as_bytes()].concat();
        assert_eq!(connection.stream.write(&packet).expect("a socket"), packet.len());
        let mut answer = vec![1; 65537];
        let length = connection.stream.read(&mut answer).expect("an answer");
        assert_eq!(
            (answer[0], &answer[1..length]),
            (DATAGRAM, text.to_uppercase().as_bytes())
        );
    }
}

#[test]
fn a_refused_datagram_is_told() {
    let unused = std::net::UdpSocket::bind("127.0.0.1:0")
        .and_then(|socket| socket.local_addr())
        .expect("a port");
    let egress = Egress::new("allow-outbound = ['udp:127.0.0.1:1-65535']");
    let mut connection = egress.host().connection("127.0.0.1", unused.port(), Transport::Udp);
    connection.stream.write_all(&[DATAGRAM, 1]).expect("a socket");
    let mut answer = [0; 2];
    assert_eq!(connection.stream.read(&mut answer).expect("an answer"), 1);
    assert_eq!(answer[0], REFUSED);
}

#[test]
fn a_name_is_looked_up_and_then_its_address_is_reached() {
    let server = servers::echo("127.0.0.1:0");
    let port = server.port();
    let egress = Egress::new(&format!("allow-outbound = ['localhost:{port}', '127.0.0.1:{port}']"));
    let host = egress.host();
    let (answer, _) = host
        .ask(
            "a",
            Ask::Resolve {
                name: "LocalHost.".into(),
            },
        )
        .expect("found");
    let Answer::Addresses(addresses) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(addresses, [SocketAddr::ip(&server)]);
    assert_eq!(host.connection("localhost", port, Transport::Tcp).exchange("x"), "X");
    denied(host.ask(
        "a",
        Ask::Resolve {
            name: "secret.localhost".into(),
        },
    ));
}
