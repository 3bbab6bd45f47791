//! Who asked, and from where the answer comes.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV6, UdpSocket};
use std::process::Command;
use std::thread;

use harness::{ALL, Destination, Kind, World, each_kind, eventually};
use rustix::net::SocketAddrUnix;

use crate::expect_lines;

/// The variables that a guest of this answer saw, without its arguments.
fn variables(answer: &str) -> Vec<&str> {
    let lines = answer.lines();
    lines.filter(|line| !line.starts_with("arg: ")).collect()
}

fn udp_environment(ip: &str, local: u16, remote: (&str, u16)) -> Vec<String> {
    let (remote_ip, remote_port) = remote;
    vec![
        "PROTO=UDP".to_owned(),
        format!("REMOTE_ADDR={remote_ip}"),
        format!("REMOTE_PORT={remote_port}"),
        format!("UDPLOCALIP={ip}"),
        format!("UDPLOCALPORT={local}"),
        format!("UDPREMOTEIP={remote_ip}"),
        format!("UDPREMOTEPORT={remote_port}"),
        "WASM_SOCK_NAME=who".to_owned(),
    ]
}

each_kind! { ALL: a_guest_behind_a_udp_port_learns_who_calls_and_nothing_else }
fn a_guest_behind_a_udp_port_learns_who_calls_and_nothing_else(kind: Kind) {
    let world = World::new(kind);
    world.actor("who", "env", "");
    for ip in ["127.0.0.1", "::1"] {
        let destination = world.udp_at("who", ip);
        let host = world.start(&[]);
        let client = destination.connect();
        let answer = client.ask("?");
        let (local, remote) = (destination.port(), client.local_port());
        let expected = udp_environment(ip, local, (ip, remote));
        assert_eq!(variables(&String::from_utf8(answer).unwrap()), expected);
        let peer = SocketAddr::new(ip.parse().unwrap(), remote);
        let line = host.log.expect(&format!("who {peer}: served"));
        assert!(line.contains(", 1 bytes in, "), "{line}");
    }
}

each_kind! { ALL: an_ipv4_client_of_a_dual_stack_socket_is_shown_as_ipv4_and_answered }
fn an_ipv4_client_of_a_dual_stack_socket_is_shown_as_ipv4_and_answered(kind: Kind) {
    let world = World::new(kind);
    world.actor("who", "env", "");
    let destination = world.udp_at("who", "::");
    let _host = world.start(&[]);
    for ip in ["127.0.0.1", "::1"] {
        let client = destination.at(ip).connect();
        client.send("?");
        let expected = udp_environment(ip, destination.port(), (ip, client.local_port()));
        assert_eq!(variables(&client.text()), expected);
    }
}

each_kind! { ALL: a_guest_behind_a_unix_socket_learns_that_it_is_one_and_the_log_who_called }
fn a_guest_behind_a_unix_socket_learns_that_it_is_one_and_the_log_who_called(kind: Kind) {
    let world = World::new(kind);
    world.actor("who", "env", "");
    let destination = world.unix_datagrams("who");
    let host = world.start(&[]);
    let name = world.path("run/caller");
    let address = SocketAddrUnix::new(&name).unwrap();
    let client = destination.connect_as(&address);
    client.send("?");
    assert_eq!(variables(&client.text()), ["PROTO=UNIX", "WASM_SOCK_NAME=who"]);
    host.log.expect(&format!("who {}: served", name.display()));
}

/// An answer from anywhere else would not reach a client that is connected to `ip`.
fn is_answered_from(destination: &Destination, ips: &[&str]) {
    for ip in ips {
        let client = destination.at(ip).connect();
        client.send("?");
        let expected = format!("UDPLOCALIP={ip}");
        let answer = client.text();
        assert!(answer.contains(&expected), "no {expected} in {answer}");
    }
}

each_kind! { ALL: an_answer_comes_from_the_address_that_was_asked }
fn an_answer_comes_from_the_address_that_was_asked(kind: Kind) {
    for ip in ["0.0.0.0", "::"] {
        let world = World::new(kind);
        world.actor("who", "env", "");
        let destination = world.udp_at("who", ip);
        let _host = world.start(&[]);
        is_answered_from(&destination, &["127.0.0.1", "127.0.0.2", "127.1.2.3"]);
    }
}

each_kind! { ALL: an_answer_to_what_came_before_the_host_comes_from_the_address_that_was_asked }
fn an_answer_to_what_came_before_the_host_comes_from_the_address_that_was_asked(kind: Kind) {
    for ip in ["0.0.0.0", "::"] {
        let world = World::new(kind);
        world.actor("who", "env", "");
        let destination = world.udp_at("who", ip);
        let asked = ["127.0.0.2", "127.1.2.3", "127.0.0.1"];
        let clients = asked.map(|ip| destination.at(ip).connect());
        for client in &clients {
            client.send("?");
        }
        let _host = world.start(&[]);
        for (client, ip) in clients.iter().zip(asked) {
            let answer = client.text();
            assert!(answer.contains(&format!("UDPLOCALIP={ip}\n")), "{answer}");
        }
    }
}

/// The kernel adds the route to an IPv6 address of its own a little after `ip address add` has
/// ended; what is sent to the address before that is lost.
fn wait_until_it_is_ours(address: &str) {
    let (address, _) = address.split_once('/').expect("an address with its prefix's length");
    eventually("the address is one of this machine's", || {
        let asked = Command::new("ip").args(["route", "get", address]).output();
        asked.expect("run ip").stdout.starts_with(b"local ")
    });
}

/// Runs `test` in a network namespace of its own, of which the loopback interface has these
/// addresses, too.
fn with_addresses(addresses: &[&str], test: impl FnOnce() + Send) {
    if !rustix::process::geteuid().is_root() {
        return harness::skip("only root can add an address");
    }
    let ip = |arguments: &str| {
        let status = Command::new("ip").args(arguments.split(' ')).status();
        assert!(status.expect("run ip").success(), "ip {arguments}");
    };
    thread::scope(|scope| {
        let isolated = scope.spawn(|| {
            // SAFETY: unshare(2) with CLONE_NEWNET changes only what sockets this thread makes.
            let unshared = unsafe { libc::unshare(libc::CLONE_NEWNET) };
            assert_eq!(unshared, 0, "unshare: {}", std::io::Error::last_os_error());
            ip("link set lo up");
            for address in addresses {
                // Without duplicate address detection, so that it can be used at once.
                let nodad = if address.contains(':') { " nodad" } else { "" };
                ip(&format!("address add {address} dev lo{nodad}"));
                wait_until_it_is_ours(address);
            }
            test();
        });
        if let Err(panic) = isolated.join() {
            std::panic::resume_unwind(panic);
        }
    });
}

#[test]
fn an_answer_comes_from_the_ipv6_address_that_was_asked() {
    let asked = ["fd00::1", "fd00::2", "::1"];
    with_addresses(&["fd00::1/128", "fd00::2/128"], || {
        for kind in ALL {
            let world = World::new(kind);
            world.actor("who", "env", "");
            let destination = world.udp_at("who", "::");
            let early = asked.map(|ip| destination.at(ip).connect());
            for client in &early {
                client.send("?");
            }
            let _host = world.start(&[]);
            for (client, ip) in early.iter().zip(asked) {
                let answer = client.text();
                assert!(answer.contains(&format!("UDPLOCALIP={ip}\n")), "{answer}");
            }
            is_answered_from(&destination, &asked);
        }
    });
}

#[test]
fn an_answer_comes_from_the_link_local_address_that_was_asked() {
    with_addresses(&["fe80::1/64", "fe80::2/64"], || {
        let world = World::new(Kind::P1);
        world.actor("who", "env", "");
        let port = world.udp_at("who", "::").port();
        // The loopback interface is the first.
        let asked = ["fe80::1", "fe80::2"].map(|ip| {
            let ip = ip.parse().unwrap();
            Destination::Udp(SocketAddrV6::new(ip, port, 0, 1).into()).connect()
        });
        asked[0].send("?");
        let _host = world.start(&[]);
        assert!(asked[0].text().contains("UDPLOCALIP=fe80::1\n"));
        asked[1].send("?");
        assert!(asked[1].text().contains("UDPLOCALIP=fe80::2\n"));
    });
}

#[test]
fn whoever_asks_everybody_is_answered() {
    let everybody = ["10.1.1.255", "127.255.255.255"];
    with_addresses(&["10.1.1.1/24 broadcast 10.1.1.255"], || {
        let mut unanswered = Vec::new();
        for socket in ["0.0.0.0", "::"] {
            for early in [true, false] {
                let world = World::new(Kind::P1);
                world.echo("echo");
                let port = world.udp_at("echo", socket).port();
                let client = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
                client.set_broadcast(true).unwrap();
                let ask = || {
                    for ip in everybody {
                        client.send_to(ip.as_bytes(), (ip, port)).unwrap();
                    }
                };
                let host = if early {
                    ask();
                    world.start(&[])
                } else {
                    let host = world.start(&[]);
                    host.notifications.expect("READY=1");
                    ask();
                    host
                };
                // Each leaves one line, whatever comes of it.
                eventually("both were served", || host.log.count("echo ") == 2);
                client.set_nonblocking(true).unwrap();
                let mut answer = [0; 100];
                let answers = everybody.map(|_| client.recv_from(&mut answer).is_ok());
                if answers != [true, true] {
                    unanswered.push((socket, early, host.log.text()));
                }
            }
        }
        assert_eq!(unanswered, []);
    });
}

each_kind! { ALL: an_answer_for_a_sender_without_a_name_goes_nowhere }
fn an_answer_for_a_sender_without_a_name_goes_nowhere(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destination = world.unix_datagrams("echo");
    let host = world.start(&[]);
    let named = destination.connect();
    for _ in 0..10 {
        assert_eq!(named.ask("ping"), b"ping");
        destination.connect_unnamed().send("pong");
    }
    assert_eq!(destination.ask("ping"), b"ping");
    expect_lines(&host, "4 bytes in, 0 out", 10);
    let line = host.log.expect("4 bytes in, 0 out");
    assert!(line.contains("echo unnamed: served"), "{line}");
    named.expect_nothing();
    assert_eq!(host.log.count("not sent"), 0, "{}", host.log.text());
}
