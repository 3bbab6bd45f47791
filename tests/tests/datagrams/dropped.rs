//! Datagrams that no guest can answer.

use std::fs;

use harness::{Correspondent, Destination, Kind, World};

use crate::every_sort;

/// What comes for the handler `odd` is dropped, which is logged once, and the host stays until it is
/// idle.
fn is_dropped(world: &World, words: &str) {
    let destinations = every_sort(world, "odd");
    let clients: Vec<Correspondent> = destinations.iter().map(Destination::connect).collect();
    for client in &clients {
        client.send("before it starts");
    }
    let mut host = world.start(&["--idle-timeout", "1s"]);
    host.log.expect(words);
    for client in &clients {
        client.send("while it runs");
    }
    host.expect_exit(0);
    assert_eq!(host.log.count("odd"), 1, "{}", host.log.text());
    clients.iter().for_each(Correspondent::expect_nothing);
    // Nothing is left that would start the next one.
    let mut idle = world.start(&["--idle-timeout", "0"]);
    idle.expect_exit(0);
    assert_eq!(idle.log.count("odd"), 0, "{}", idle.log.text());
}

#[test]
fn datagrams_for_a_handler_without_a_module_are_dropped_and_logged_once() {
    is_dropped(&World::new(Kind::P1), "odd: ");
}

#[test]
fn datagrams_for_a_broken_module_are_dropped_and_logged_once() {
    let world = World::new(Kind::P1);
    fs::write(world.module("odd.cwasm"), "garbage").unwrap();
    is_dropped(&world, "cannot be used");
}

#[test]
fn datagrams_for_an_http_guest_are_dropped_and_logged_once() {
    for kind in [Kind::P2, Kind::P3] {
        let world = World::new(kind);
        world.install("odd", "http-actor");
        is_dropped(&world, "an HTTP guest cannot answer datagrams");
    }
}

#[test]
fn a_mended_module_answers_the_next_datagram() {
    let world = World::new(Kind::P1);
    fs::write(world.module("echo.cwasm"), "garbage").unwrap();
    let destination = world.udp("echo");
    let host = world.start(&[]);
    destination.connect().send("lost");
    host.log.expect("cannot be used");
    world.install("echo", "echo");
    assert_eq!(destination.ask("ping"), b"ping");
}

#[test]
fn with_a_bad_configuration_datagrams_are_dropped_for_a_while() {
    let world = World::new(Kind::P1);
    world.install("echo", "echo");
    world.configure("[defaults]\nmemroy = 1\n");
    let destination = world.udp("echo");
    let client = destination.connect();
    client.send("lost");
    let mut host = world.start(&[]);
    host.log.expect("did you mean \"memory\"?");
    host.expect_exit(78);
    client.expect_nothing();
    fs::write(world.path("config/wasm-sock.toml"), "").unwrap();
    let mut host = world.start(&["--idle-timeout", "0"]);
    host.expect_exit(0);
    assert_eq!(host.log.count("served"), 0, "the datagram was kept");
}
