//! What a datagram is answered with, if with anything.

use std::fs;

use harness::{Correspondent, Destination, Kind, World, each_kind, second_version, wasm};

use crate::{LARGEST, big, every_sort, expect_lines, sleeping};

each_kind! { ALL: a_datagram_is_answered_with_a_datagram }
fn a_datagram_is_answered_with_a_datagram(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destinations = every_sort(&world, "echo");
    let host = world.start(&[]);
    for destination in destinations {
        let client = destination.connect();
        for message in [b"ping".as_slice(), b"two\nlines\n", b"\0\xff", &big(5000)] {
            assert_eq!(client.ask(message), message, "{destination:?}");
        }
        assert_eq!(client.ask(big(LARGEST)), big(LARGEST), "{destination:?}");
    }
    host.expect_in_flight(0);
}

each_kind! { ALL: whatever_a_guest_writes_and_in_how_many_pieces_is_one_datagram }
fn whatever_a_guest_writes_and_in_how_many_pieces_is_one_datagram(kind: Kind) {
    let world = World::new(kind);
    world.actor("big", &format!("big {LARGEST}"), "");
    world.actor("who", "env", "");
    let (big_ones, who) = (every_sort(&world, "big"), world.udp("who"));
    let _host = world.start(&[]);
    for destination in big_ones {
        assert_eq!(destination.ask("?"), big(LARGEST), "{destination:?}");
    }
    // One write a line.
    let client = who.connect();
    client.send("?");
    assert!(client.text().contains("PROTO=UDP\nREMOTE_ADDR="));
}

each_kind! { ALL: an_answer_that_no_datagram_can_carry_is_not_sent_and_logged }
fn an_answer_that_no_datagram_can_carry_is_not_sent_and_logged(kind: Kind) {
    let world = World::new(kind);
    let mut clients = Vec::new();
    for size in [LARGEST + 1, 1_000_000] {
        let handler = format!("big{size}");
        world.actor(&handler, &format!("big {size}"), "");
        for destination in every_sort(&world, &handler) {
            let client = destination.connect();
            client.send("?");
            clients.push(client);
        }
    }
    let host = world.start(&[]);
    let told = "its answer was not sent: it has more than 65507 bytes";
    expect_lines(&host, told, clients.len());
    host.expect_in_flight(0);
    clients.iter().for_each(Correspondent::expect_nothing);
}

each_kind! { ALL: a_datagram_that_is_too_large_is_dropped_and_logged_and_the_next_is_answered }
fn a_datagram_that_is_too_large_is_dropped_and_logged_and_the_next_is_answered(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destination = world.unix_datagrams("echo");
    let host = world.start(&[]);
    let client = destination.connect();
    for size in [65_536, 100_000] {
        client.send(big(size));
        assert_eq!(client.ask("next"), b"next");
    }
    expect_lines(&host, "dropped: it has more than 65535 bytes", 2);
}

each_kind! { BOTH: the_largest_datagram_that_can_be_received_reaches_the_guest_whole }
fn the_largest_datagram_that_can_be_received_reaches_the_guest_whole(kind: Kind) {
    let world = World::new(kind);
    world.actor("count", "count", "");
    let destination = world.unix_datagrams("count");
    let _host = world.start(&[]);
    let answer = destination.ask(vec![0; 65_535]);
    assert!(answer.starts_with(b"65535 "), "{answer:?}");
}

each_kind! { ALL: an_empty_datagram_is_one_too }
fn an_empty_datagram_is_one_too(kind: Kind) {
    let world = World::new(kind);
    let (part, answer) = match kind {
        Kind::P3 => ("hello", "hello from 0.3\n"),
        Kind::P1 | Kind::P2 => ("count", "0 cbf29ce484222325\n"),
    };
    world.actor("empty", part, "");
    let destinations = every_sort(&world, "empty");
    let _host = world.start(&[]);
    for destination in destinations {
        assert_eq!(destination.ask(""), answer.as_bytes(), "{destination:?}");
    }
}

each_kind! { ALL: a_guest_that_writes_nothing_answers_nothing }
fn a_guest_that_writes_nothing_answers_nothing(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destinations = every_sort(&world, "echo");
    let host = world.start(&[]);
    for destination in &destinations {
        let client = destination.connect();
        client.send("");
        assert_eq!(client.ask("next"), b"next");
        client.expect_nothing();
    }
    expect_lines(&host, "0 bytes in, 0 out", destinations.len());
    expect_lines(&host, "4 bytes in, 4 out", destinations.len());
}

each_kind! { ALL: a_guest_that_traps_answers_nothing_and_is_logged }
fn a_guest_that_traps_answers_nothing_and_is_logged(kind: Kind) {
    let world = World::new(kind);
    world.actor("trap", "trap", "");
    world.echo("echo");
    let (traps, echo) = (every_sort(&world, "trap"), world.udp("echo"));
    let host = world.start(&[]);
    let clients = traps.each_ref().map(Destination::connect);
    for client in &clients {
        client.send("?");
    }
    expect_lines(&host, "ended: ", clients.len());
    clients.iter().for_each(Correspondent::expect_nothing);
    assert_eq!(echo.ask("still here?"), b"still here?");
    let line = host.log.expect("ended: ");
    assert!(line.contains("unreachable"), "{line}");
}

#[test]
fn a_guest_that_fails_still_answers_and_is_logged() {
    for (kind, code) in [(Kind::P1, 3), (Kind::P2, 1), (Kind::P3, 3)] {
        let world = World::new(kind);
        world.actor("bye", &format!("exit {code}"), "");
        let destinations = every_sort(&world, "bye");
        let host = world.start(&[]);
        for destination in &destinations {
            assert_eq!(destination.ask("?"), b"bye\n", "{destination:?}");
        }
        let failed = format!("failed with exit code {code} ");
        expect_lines(&host, &failed, destinations.len());
    }
}

each_kind! { ALL: what_a_guest_tells_stderr_is_logged_with_handler_and_sender }
fn what_a_guest_tells_stderr_is_logged_with_handler_and_sender(kind: Kind) {
    let world = World::new(kind);
    let (part, said) = match kind {
        Kind::P3 => ("stderr fine", "fine"),
        Kind::P1 | Kind::P2 => ("stderr", "first line"),
    };
    world.actor("noisy", part, "");
    let destination = world.udp("noisy");
    let host = world.start(&[]);
    let client = destination.connect();
    assert_eq!(client.ask("?"), b"ok\n");
    let port = client.local_port();
    host.log.expect(&format!("noisy 127.0.0.1:{port}: {said}"));
}

each_kind! { ALL: a_guest_that_takes_longer_than_it_may_answers_nothing }
fn a_guest_that_takes_longer_than_it_may_answers_nothing(kind: Kind) {
    let world = World::new(kind);
    world.actor("sleep", sleeping(kind), "timeout = \"200ms\"");
    world.actor("spin", "spin", "cpu-time = \"100ms\"");
    let clients = [world.udp("sleep"), world.udp("spin")].map(|d| d.connect());
    for client in &clients {
        client.send("?");
    }
    let host = world.start(&[]);
    host.log.expect("took longer than 200ms");
    host.log.expect("used more than 100ms of CPU time");
    host.expect_in_flight(0);
    clients.iter().for_each(Correspondent::expect_nothing);
}

each_kind! { ALL: a_handler_answers_connections_and_datagrams }
fn a_handler_answers_connections_and_datagrams(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let (tcp, udp) = (world.tcp("echo"), world.udp("echo"));
    let (unix, datagrams) = (world.unix("echo"), world.unix_datagrams("echo"));
    let host = world.start(&[]);
    tcp.ask("stream").expect_whole("stream");
    unix.ask("stream").expect_whole("stream");
    assert_eq!(udp.ask("datagram"), b"datagram");
    assert_eq!(datagrams.ask("datagram"), b"datagram");
    host.notifications.expect("STATUS=1 handler, 0 in flight, 4 served");
}

each_kind! { BOTH: a_replaced_module_answers_the_next_datagram }
fn a_replaced_module_answers_the_next_datagram(kind: Kind) {
    let world = World::new(kind);
    world.configure("[handler.now]\nmodule = \"m.wasm\"\nargs = [\"version\"]\n");
    let install = |bytes: &[u8]| {
        fs::write(world.path("run/new"), bytes).unwrap();
        fs::rename(world.path("run/new"), world.module("m.wasm")).unwrap();
    };
    install(&fs::read(wasm(kind, "actor")).unwrap());
    let destination = world.udp("now");
    let _host = world.start(&[]);
    assert_eq!(destination.ask("?"), b"version 1\n");
    install(&second_version(kind));
    assert_eq!(destination.ask("?"), b"edition 1\n");
}
