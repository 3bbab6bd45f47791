//! A socket, not a connection, as standard input: inetd's `wait`.

use std::fs;

use harness::{Address, Destination, Kind, Launch, World, each_kind};

use crate::{NAME, tcp, with_module};

each_kind! { ALL: standard_input_that_listens_is_served_until_idle_as_inetd_wait_wants }
fn standard_input_that_listens_is_served_until_idle_as_inetd_wait_wants(kind: Kind) {
    for way in [Launch::ucspi, Launch::inetd] {
        let world = World::new(kind);
        world.echo(NAME);
        for pass in [World::tcp, World::unix, World::abstract_unix] {
            let address = pass(&world, NAME);
            let listener = world.take();
            let mut waiting = address.connect();
            let inherited = listener.try_clone().unwrap();
            let idle = ["--idle-timeout", "1s"];
            let mut host = with_module(&world, way, inherited, &idle);
            for _ in 0..5 {
                address.ask("ping").expect_whole("ping");
            }
            waiting.send("waited");
            waiting.finish();
            waiting.answer().expect_whole("waited");
            host.expect_exit(0);
            // A client that comes now is the next host's.
            let mut next = address.connect();
            next.send("next");
            next.finish();
            let _next_host = with_module(&world, way, listener, &idle);
            next.answer().expect_whole("next");
            if let Address::Unix(path) = address {
                fs::remove_file(path).unwrap();
            }
        }
    }
}

each_kind! { ALL: standard_input_of_datagrams_is_served_until_idle_as_inetd_wait_wants }
fn standard_input_of_datagrams_is_served_until_idle_as_inetd_wait_wants(kind: Kind) {
    for way in [Launch::ucspi, Launch::inetd] {
        let world = World::new(kind);
        world.actor(NAME, "env", "");
        let destination = world.udp_at(NAME, "0.0.0.0");
        let socket = world.take();
        let clients = ["127.0.0.1", "127.0.0.2"].map(|ip| destination.at(ip).connect());
        clients[1].send("?");
        let mut host = with_module(&world, way, socket, &["--idle-timeout", "1s"]);
        clients[0].send("?");
        for (client, ip) in clients.iter().zip(["127.0.0.1", "127.0.0.2"]) {
            let answer = client.text();
            let expected = format!(
                "PROTO=UDP\nREMOTE_ADDR=127.0.0.1\nREMOTE_PORT={0}\nUDPLOCALIP={ip}\nUDPLOCALPORT={1}\n",
                client.local_port(),
                destination.port()
            );
            assert!(answer.starts_with(&expected), "{answer}");
        }
        host.expect_exit(0);
    }
}

each_kind! { ALL: standard_input_of_unix_datagrams_is_served_too }
fn standard_input_of_unix_datagrams_is_served_too(kind: Kind) {
    let world = World::new(kind);
    world.echo(NAME);
    let destination: Destination = world.unix_datagrams(NAME);
    let socket = world.take();
    let client = destination.connect();
    client.send("early");
    let idle = ["--idle-timeout", "1s"];
    let mut host = with_module(&world, Launch::inetd, socket, &idle);
    assert_eq!(client.receive(), b"early");
    assert_eq!(client.ask("late"), b"late");
    host.expect_exit(0);
}

#[test]
fn standard_input_that_is_a_socket_is_not_served_without_a_module() {
    let world = World::new(Kind::P1);
    world.echo(NAME);
    let (mut client, accepted) = tcp(&world);
    let mut host = world.launch().ucspi(accepted).start();
    host.expect_exit(78);
    host.log.expect("no sockets were passed");
    client.answer().expect_whole("");
}
