//! `max-connections-per-source`: one address may not take all places of a handler.

use std::io::ErrorKind;

use harness::{Address, Client, End, Kind, World, each_kind, eventually, web_host};

/// Not 127.0.0.1, which is the machine itself.
const FIRST: &str = "127.0.0.2";
const SECOND: &str = "127.0.0.3";

const LIMIT: &str = "max-connections-per-source = 2";

fn answered(address: &Address, source: &str) -> Client {
    let mut client = address.connect_from(source);
    client.send("in?\n");
    assert_eq!(client.line(), "in?");
    client
}

/// Is a client from there reset, who would be answered with nothing?
fn is_reset(address: &Address, source: &str) -> bool {
    match address.try_connect_from(source) {
        Ok(mut client) => {
            client.finish();
            client.answer().end == End::Reset
        }
        // The reset was here before connect(2) returned.
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn a_source_beyond_its_limit_is_reset_at_once_and_others_are_served() {
    let world = World::new(Kind::P1);
    let address = world.actor_port("two", "pingpong", LIMIT);
    let host = world.start(&[]);
    let (first, _second) = (answered(&address, FIRST), answered(&address, FIRST));
    for _ in 0..10 {
        assert!(is_reset(&address, FIRST));
    }
    let line = host.log.expect("`max-connections-per-source`");
    assert!(line.contains("two 127.0.0.2: reset: it has 2 connections"), "{line}");
    let told = || host.log.count("`max-connections-per-source`");
    eventually("it was told five times", || told() == 5);
    let _other = answered(&address, SECOND);
    assert_eq!(told(), 5, "of ten");
    drop(first);
    eventually("there is a place again", || !is_reset(&address, FIRST));
}

#[test]
fn a_reverse_proxy_on_this_machine_has_no_limit() {
    let world = World::new(Kind::P1);
    world.actor("two", "pingpong", LIMIT);
    let (tcp, unix) = (world.tcp("two"), world.unix("two"));
    let _host = world.start(&[]);
    let _clients: Vec<Client> = (0..4)
        .flat_map(|_| {
            [answered(&tcp, "127.0.0.1"), {
                let mut client = unix.connect();
                client.send("in?\n");
                assert_eq!(client.line(), "in?");
                client
            }]
        })
        .collect();
}

#[test]
fn a_client_that_floods_a_handler_leaves_places_for_others() {
    let world = World::new(Kind::P1);
    // As it is without any configuration.
    let address = world.actor_port("eof", "wait-eof", "");
    let host = world.start(&[]);
    let connect = |_| address.try_connect_from(FIRST).ok();
    let _flood: Vec<Option<Client>> = (0..300).map(connect).collect();
    host.expect_in_flight(64);
    let mut other = address.connect_from(SECOND);
    other.finish();
    other.answer().expect_whole("eof\n");
}

each_kind! { HTTP: idle_connections_of_http_count }
fn idle_connections_of_http_count(kind: Kind) {
    let (_world, address, _host) = web_host(kind, LIMIT);
    let mut open: Vec<_> = (0..2).map(|_| address.http_from(FIRST)).collect();
    for http in &mut open {
        http.get("/hello").expect(200, "hello\n");
    }
    assert!(is_reset(&address, FIRST));
    address.http_from(SECOND).get("/hello").expect(200, "hello\n");
}

each_kind! { ALL: datagrams_beyond_the_limit_are_dropped_until_one_is_answered }
fn datagrams_beyond_the_limit_are_dropped_until_one_is_answered(kind: Kind) {
    let world = World::new(kind);
    let part = if kind == Kind::P3 {
        "sleep 400"
    } else {
        "never-read 400"
    };
    world.actor("slow", part, LIMIT);
    let destination = world.udp("slow");
    let host = world.start(&[]);
    let client = destination.connect_from("127.0.0.2:0");
    for _ in 0..5 {
        client.send("?");
    }
    let line = host.log.expect("`max-connections-per-source`");
    assert!(line.contains("slow 127.0.0.2:") && line.contains("dropped: "), "{line}");
    harness::eventually("two were served", || host.log.count("served") == 2);
    client.send("?");
    harness::eventually("a third was served", || host.log.count("served") == 3);
}
