//! Clients of Unix datagrams that do not read: their answers take no room from those of others.

use std::time::{Duration, Instant};

use harness::{Destination, Kind, World, each_kind};

/// How often those ask who never read.
const UNREAD: usize = 50;

/// What they ask: the answers are more than the buffer of the host's socket has room for.
fn large() -> Vec<u8> {
    vec![b'x'; 20_000]
}

/// Another client is answered soon, and so is the next.
fn expect_answers(destination: &Destination) {
    let start = Instant::now();
    for _ in 0..5 {
        let client = destination.connect();
        assert_eq!(client.ask("ping"), b"ping");
        assert_eq!(client.ask("pong"), b"pong");
    }
    let took = start.elapsed();
    assert!(took < Duration::from_secs(5), "it took {took:?}");
}

each_kind! { ALL: a_client_that_reads_no_answer_keeps_no_other_from_being_answered }
fn a_client_that_reads_no_answer_keeps_no_other_from_being_answered(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destination = world.unix_datagrams("echo");
    let host = world.start(&[]);
    let deaf = destination.connect();
    for _ in 0..2 {
        for _ in 0..UNREAD {
            deaf.send(large());
        }
        expect_answers(&destination);
    }
    host.log.expect("its answer was not sent");
    host.expect_in_flight(0);
    expect_answers(&destination);
}

each_kind! { ALL: a_client_that_reads_is_answered_as_often_as_it_asks_beside_one_that_does_not }
/// What was read is no longer counted, though something always stays unread.
fn a_client_that_reads_is_answered_as_often_as_it_asks_beside_one_that_does_not(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destination = world.unix_datagrams("echo");
    let _host = world.start(&[]);
    let deaf = destination.connect();
    deaf.send([large(), large()].concat());
    let client = destination.connect();
    for _ in 0..500 {
        assert_eq!(client.ask("x".repeat(1000)).len(), 1000);
    }
}

each_kind! { ALL: several_clients_that_read_no_answer_keep_no_other_from_being_answered }
fn several_clients_that_read_no_answer_keep_no_other_from_being_answered(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destination = world.unix_datagrams("echo");
    let host = world.start(&[]);
    // An eighth of the buffer each is room for one answer, and leaves a quarter of it.
    let deaf = [(); 6].map(|()| destination.connect());
    for _ in 0..UNREAD / deaf.len() {
        for client in &deaf {
            client.send(large());
        }
    }
    expect_answers(&destination);
    host.log.expect("its answer was not sent");
}

each_kind! { ALL: many_clients_that_read_no_small_answer_keep_no_other_from_being_answered }
fn many_clients_that_read_no_small_answer_keep_no_other_from_being_answered(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destination = world.unix_datagrams("echo");
    let _host = world.start(&[]);
    let deaf = [(); UNREAD].map(|()| destination.connect());
    for client in &deaf {
        client.send("never mind");
    }
    expect_answers(&destination);
}
