//! `max-connections` and `max-memory` of `[host]`: what all handlers have together.

use std::time::Duration;

use harness::{Client, Kind, World, each_kind};

use crate::accepted;

#[test]
fn a_client_beyond_the_connections_of_all_waits_until_one_leaves() {
    let world = World::new(Kind::P1);
    world.configure("[host]\nmax-connections = 2\n");
    let (one, other) = (
        world.actor_port("one", "pingpong", ""),
        world.actor_port("other", "pingpong", ""),
    );
    // Sockets without a pending client take no slot.
    let _idle = [world.tcp("one"), world.unix("other")];
    let host = world.start(&[]);
    let (first, _second) = (accepted(&one), accepted(&other));
    let mut third = other.connect();
    third.send("third\n");
    assert!(!third.hears_anything_within(Duration::from_millis(300)));
    let line = host.log.expect("`max-connections` in [host]");
    assert!(line.contains("other: clients wait: the host has 2"), "{line}");
    drop(first);
    assert_eq!(third.line(), "third");
}

#[test]
fn a_crowded_handler_is_told_of() {
    let world = World::new(Kind::P1);
    let address = world.actor_port("one", "pingpong", "max-connections = 1");
    let host = world.start(&[]);
    let _first = accepted(&address);
    let _waiting: Vec<Client> = (0..3).map(|_| address.connect()).collect();
    let line = host.log.expect("`max-connections`");
    assert!(line.contains("one: clients wait: it has 1 connections"), "{line}");
    assert_eq!(host.log.count("`max-connections`"), 1);
}

each_kind! { HTTP: an_idle_http_connection_gives_way_to_a_client_of_another_handler }
fn an_idle_http_connection_gives_way_to_a_client_of_another_handler(kind: Kind) {
    let world = World::new(kind);
    world.configure("[host]\nmax-connections = 1\n");
    let (web, other) = (world.web_port("web", ""), world.web_port("other", ""));
    let _host = world.start(&[]);
    let mut idle = web.http();
    idle.get("/hello").expect(200, "hello\n");
    other.get("/hello").expect(200, "hello\n");
}

each_kind! { BOTH: a_guest_is_refused_memory_that_others_have_and_gets_it_when_they_are_gone }
fn a_guest_is_refused_memory_that_others_have_and_gets_it_when_they_are_gone(kind: Kind) {
    let world = World::new(kind);
    world.configure("[host]\nmax-memory = \"64MiB\"\n");
    let (one, other) = (
        world.actor_port("one", "hold 40", ""),
        world.actor_port("other", "hold 40", ""),
    );
    let greedy = world.actor_port("greedy", "allocate-trap", "");
    let host = world.start(&[]);
    let mut first = one.connect();
    assert_eq!(first.line(), "taken");
    assert_eq!(other.connect().line(), "refused");
    greedy.knock().expect_reset_after("");
    let line = host.log.expect("`max-memory`");
    assert!(line.contains("greedy 127.0.0.1:") && line.contains("ended: "), "{line}");
    first.finish();
    first.answer();
    harness::eventually("it was given back", || other.connect().line() == "taken");
}
