//! TCP and UDP, in WASI 0.2 and 0.3.

use crate::servers;
use harness::{Kind, World};
use std::io::{Read, Write};
use std::net::Shutdown;

#[test]
fn a_guest_connects_by_tcp_and_reads_to_the_end() {
    for kind in [Kind::P2, Kind::P3] {
        let world = World::new(kind);
        let server = servers::serve(|mut stream| {
            let _ = stream.write_all(b"secret\n");
            // Closing it with something unread would reset it.
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let allow = format!("allow-outbound = [\"{server}\"]");
        let address = world.actor_port("call", &format!("connect {server}"), &allow);
        let _egress = world.egress();
        let _host = world.start(&[]);
        address.knock().expect_whole("connected\nsecret\n");
        // By the connection to wasm-sock-egress that is there.
        address.knock().expect_whole("connected\nsecret\n");
    }
}

#[test]
fn what_a_guest_sends_and_ends_arrives_whole_in_both_directions() {
    let world = World::new(Kind::P2);
    let server = servers::echo();
    let allow = format!("allow-outbound = [\"{server}\"]");
    let address = world.actor_port("exchange", &format!("exchange {server} 60000"), &allow);
    let _egress = world.egress();
    let _host = world.start(&[]);
    address.knock().expect_whole("back: 60000, same: true, Ok(60000)\n");
}

#[test]
fn a_datagram_is_answered() {
    for (kind, answer) in [(Kind::P2, "answer: HELLO\n"), (Kind::P3, "answer: HELLO ")] {
        let world = World::new(kind);
        let server = servers::udp();
        let allow = format!("allow-outbound = [\"udp:{server}\"]");
        let address = world.actor_port("ask", &format!("datagram {server}"), &allow);
        let _egress = world.egress();
        let _host = world.start(&[]);
        let answered = address.knock().text();
        assert!(answered.starts_with(answer), "{answered}");
    }
}

#[test]
fn one_socket_sends_to_several_peers_and_knows_which_has_answered() {
    let world = World::new(Kind::P2);
    let (one, other, not_granted) = (servers::udp(), servers::udp(), servers::udp());
    let allow = format!("allow-outbound = [\"udp:{one}\", \"udp:{other}\"]");
    let part = format!("datagrams {one},{not_granted},{other},{one}");
    let address = world.actor_port("ask", &part, &allow);
    let _egress = world.egress();
    let _host = world.start(&[]);
    let answered = address.knock().text();
    let lines: Vec<&str> = answered.lines().collect();
    assert_eq!(lines.len(), 4, "{answered}");
    for (line, from) in [(0, one), (2, other), (3, one)] {
        assert_eq!(lines[line], format!("from {from}: {from}"), "{answered}");
    }
    assert!(lines[1].starts_with(&format!("send to {not_granted}: ")), "{answered}");
}
