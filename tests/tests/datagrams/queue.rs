//! Many datagrams, slow guests, and hosts that come and go.

use std::collections::BTreeSet;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Correspondent, Destination, Kind, World, each_kind};
use rustix::process::Signal;

use crate::{every_sort, sleeping};

each_kind! { ALL: guests_that_take_their_time_keep_nobody_waiting }
fn guests_that_take_their_time_keep_nobody_waiting(kind: Kind) {
    let world = World::new(kind);
    world.actor("sleep", sleeping(kind), "");
    world.actor("spin", "spin", "cpu-time = \"infinity\"");
    world.echo("echo");
    let slow = [world.udp("sleep"), world.unix_datagrams("spin")];
    let echo = [world.udp("echo"), world.unix_datagrams("echo")];
    let host = world.start(&[]);
    for destination in &slow {
        for _ in 0..3 {
            destination.connect_unnamed().send("?");
        }
    }
    host.expect_in_flight(6);
    for destination in echo {
        let client = destination.connect();
        for _ in 0..20 {
            assert_eq!(client.ask("ping"), b"ping");
        }
    }
    host.expect_in_flight(6);
}

each_kind! { ALL: what_is_beyond_max_connections_waits_in_the_kernel_for_this_host_or_the_next }
fn what_is_beyond_max_connections_waits_in_the_kernel_for_this_host_or_the_next(kind: Kind) {
    let world = World::new(kind);
    world.configure("[host]\ndrain-timeout = \"0\"\n");
    world.actor("one", sleeping(kind), "max-connections = 1");
    let destination = world.udp("one");
    let clients = [(); 5].map(|()| destination.connect());
    for client in &clients {
        client.send("ping");
    }
    let mut host = world.start(&[]);
    host.expect_in_flight(1);
    host.signal(Signal::TERM);
    host.expect_exit(0);
    assert_eq!(host.log.count("still in flight are reset"), 1);
    // What was in flight is gone; all others are the next host's, one after the other.
    let config = world.path("config/wasm-sock.toml");
    fs::write(&config, "[defaults]\nmax-connections = 1\n").unwrap();
    world.echo("one");
    let _host = world.start(&[]);
    for client in &clients[1..] {
        assert_eq!(client.receive(), b"ping");
    }
    clients[0].expect_nothing();
}

each_kind! { ALL: one_guest_at_a_time_answers_them_all }
fn one_guest_at_a_time_answers_them_all(kind: Kind) {
    let world = World::new(kind);
    let part = match kind {
        Kind::P3 => "sleep 20",
        Kind::P1 | Kind::P2 => "never-read 20",
    };
    world.actor("one", part, "max-connections = 1");
    let destinations = [world.udp("one"), world.unix_datagrams("one")];
    let clients: Vec<Correspondent> = (0..10).map(|n| destinations[n % 2].connect()).collect();
    clients.iter().for_each(|client| client.send("?"));
    let mut host = world.start(&["--idle-timeout", "0"]);
    host.expect_exit(0);
    for client in clients {
        assert!(client.receive().ends_with(b"done\n"));
    }
    let told = host.notifications.lines();
    let crowded = told.iter().find(|line| line.contains(" 2 in flight"));
    assert_eq!(crowded, None);
}

each_kind! { ALL: a_host_told_to_stop_answers_what_is_in_flight_and_leaves_the_rest_to_the_next }
fn a_host_told_to_stop_answers_what_is_in_flight_and_leaves_the_rest_to_the_next(kind: Kind) {
    let world = World::new(kind);
    let part = match kind {
        Kind::P3 => "sleep 500",
        Kind::P1 | Kind::P2 => "never-read 500",
    };
    world.actor("slow", part, "");
    let destination = world.udp("slow");
    let clients = [(); 3].map(|()| destination.connect());
    let mut host = world.start(&[]);
    host.notifications.expect("READY=1");
    clients[0].send("?");
    clients[1].send("?");
    host.expect_in_flight(2);
    host.signal(Signal::TERM);
    host.notifications.expect("STOPPING=1");
    clients[2].send("?");
    host.expect_exit(0);
    assert!(clients[0].receive().ends_with(b"done\n"));
    assert!(clients[1].receive().ends_with(b"done\n"));
    clients[2].expect_nothing();
    let _next = world.start(&[]);
    assert!(clients[2].receive().ends_with(b"done\n"));
}

each_kind! { ALL: senders_that_have_left_disturb_nobody }
fn senders_that_have_left_disturb_nobody(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destinations = every_sort(&world, "echo");
    for destination in &destinations {
        for _ in 0..5 {
            destination.connect().send("ping");
        }
    }
    let host = world.start(&[]);
    for destination in &destinations {
        for _ in 0..20 {
            destination.connect().send("ping");
            assert_eq!(destination.ask("ping"), b"ping", "{destination:?}");
        }
    }
    host.expect_in_flight(0);
}

each_kind! { ALL: a_sender_that_does_not_take_its_answers_keeps_nobody_waiting }
fn a_sender_that_does_not_take_its_answers_keeps_nobody_waiting(kind: Kind) {
    let world = World::new(kind);
    world.echo("echo");
    let destination = world.unix_datagrams("echo");
    let host = world.start(&[]);
    let idler = destination.connect();
    // More than its queue takes (`net.unix.max_dgram_qlen`).
    let held = sysctl("/proc/sys/net/unix/max_dgram_qlen") + 10;
    for _ in 0..held {
        idler.send("never mind");
    }
    let client = destination.connect();
    for _ in 0..5 {
        assert_eq!(client.ask("ping"), b"ping");
    }
    // It may have them yet.
    for _ in 0..held {
        assert_eq!(idler.receive(), b"never mind");
    }
    host.expect_in_flight(0);
}

fn sysctl(path: &str) -> usize {
    let value = fs::read_to_string(path).unwrap();
    value.trim().parse().unwrap()
}

/// Clients that ask at the same time.
const CLIENTS: u64 = 4;

/// How many questions a client may have out at a time: few enough for every queue.
const OUT: usize = 8;

/// A client that asks `total` times, and gets every answer once.
fn ask_around(destination: &Destination, client: u64, total: usize) {
    let correspondent = destination.connect();
    // xorshift64 (G. Marsaglia, "Xorshift RNGs").
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ client;
    for first in (0..total).step_by(OUT) {
        let asked = (first..total.min(first + OUT)).map(|number| format!("{client} {number}"));
        let mut missing: BTreeSet<String> = asked.collect();
        for message in &missing {
            correspondent.send(message);
        }
        while !missing.is_empty() {
            let answer = correspondent.text();
            assert!(missing.remove(&answer), "{answer:?} came twice");
        }
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        thread::sleep(Duration::from_micros(state % 3000));
    }
    correspondent.expect_nothing();
}

#[test]
fn a_hundred_thousand_datagrams_around_idle_exits_are_all_answered() {
    let each = 25_000;
    for (kind, is_unix) in [(Kind::P1, true), (Kind::P1, false), (Kind::P2, true), (Kind::P3, true)] {
        let start = Instant::now();
        let world = World::alone(kind);
        world.echo("echo");
        let destination = match is_unix {
            true => world.unix_datagrams("echo"),
            false => world.udp("echo"),
        };
        let launch = world.launch().args(&["--idle-timeout", "0"]);
        let supervisor = launch.supervise();
        thread::scope(|scope| {
            for client in 0..CLIENTS {
                let destination = &destination;
                scope.spawn(move || ask_around(destination, client, each / CLIENTS as usize));
            }
        });
        assert_eq!(supervisor.failures(), Vec::<String>::new());
        let hosts = supervisor.hosts();
        assert!(hosts >= 20, "{each} datagrams met only {hosts} hosts");
        let took = start.elapsed();
        println!("{kind:?}: {each} datagrams, {hosts} hosts, {took:.1?}");
    }
}
