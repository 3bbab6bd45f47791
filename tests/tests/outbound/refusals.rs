//! What is refused is logged with what would allow it.

use crate::servers;
use harness::{Kind, World};

#[test]
fn a_refused_connection_is_logged_with_the_entry_that_would_allow_it() {
    for kind in [Kind::P2, Kind::P3] {
        let world = World::new(kind);
        let (granted, other) = (servers::echo(), servers::echo());
        let allow = format!("allow-outbound = [\"{granted}\", \"udp:{granted}\"]");
        let connect = world.actor_port("connect", &format!("connect {other}"), &allow);
        let datagram = world.actor_port("datagram", &format!("datagram {other}"), &allow);
        let _egress = world.egress();
        let host = world.start(&[]);
        let answer = connect.knock().text();
        assert!(answer.starts_with("connect: "), "{answer}");
        let line = host.log.expect("was refused to connect to 127.0.0.1 port");
        assert!(
            line.contains(&format!("allow-outbound = [\"{other}\"] would allow it")),
            "{line}"
        );
        let answer = datagram.knock().text();
        assert!(answer.starts_with("datagram: "), "{answer}");
        host.log
            .expect(&format!("allow-outbound = [\"udp:{other}\"] would allow it"));
    }
}

#[test]
fn a_guest_without_a_grant_makes_no_socket_and_the_log_says_why() {
    let world = World::new(Kind::P2);
    let server = servers::echo();
    let tcp = world.actor_port("tcp", &format!("connect {server}"), "");
    let udp = world.actor_port(
        "udp",
        &format!("datagram {server}"),
        &format!("allow-outbound = [\"{server}\"]"),
    );
    let _egress = world.egress();
    let host = world.start(&[]);
    tcp.knock();
    host.log
        .expect("was refused a TCP socket: allow-outbound = [\"HOST:PORT\"] would allow one");
    udp.knock();
    host.log
        .expect("was refused a UDP socket: allow-outbound = [\"udp:HOST:PORT\"] would allow one");
}

/// A guest that tries again and again does not fill the log: `max-log` counts these lines, too.
#[test]
fn refusals_are_limited_as_all_that_a_guest_logs() {
    let world = World::new(Kind::P2);
    let (granted, other) = (servers::udp(), servers::udp());
    let allow = format!("allow-outbound = [\"udp:{granted}\"]\nmax-log = 6");
    let many = vec![other.to_string(); 100].join(",");
    let address = world.actor_port("ask", &format!("datagrams {many}"), &allow);
    let _egress = world.egress();
    let host = world.start(&[]);
    let answer = address.knock().text();
    assert_eq!(answer.lines().count(), 100, "{answer}");
    host.log.expect("was refused to connect");
    let lines = host.log.count("was refused to connect");
    assert!(lines <= 6, "{lines} lines");
}
