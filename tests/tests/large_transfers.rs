//! Much at once: bytes, clients, and clients that take their time.

use std::io::{Read, Write};
use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use harness::{Client, End, Kind, World, each_kind};

const MIB: u64 = 1024 * 1024;
const GIB: usize = 1024 * 1024 * 1024;

/// Bytes whose period is a prime, so that no power of two of lost or repeated ones goes unseen.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

fn send_pattern(client: &mut Client, bytes: usize) {
    let block = pattern(251 * 1024);
    let mut left = bytes;
    while left > 0 {
        let count = left.min(block.len());
        client.write_all(&block[..count]).expect("send");
        left -= count;
    }
    client.finish();
}

/// Reads to the end; fails at the first byte that differs.
fn expect_pattern(client: &mut Client, bytes: usize) {
    // Long enough for a chunk that begins anywhere in the period.
    let block = pattern(64 * 1024 + 251);
    let mut at = 0;
    let end = client.read_until_end(|chunk| {
        let expected = &block[at % 251..][..chunk.len()];
        assert!(chunk == expected, "wrong bytes between {at} and {}", at + chunk.len());
        at += chunk.len();
    });
    assert_eq!((at, end), (bytes, End::Closed));
}

each_kind! { BOTH: a_gibibyte_each_way_arrives_byte_for_byte_in_constant_memory }
fn a_gibibyte_each_way_arrives_byte_for_byte_in_constant_memory(kind: Kind) {
    let world = World::new(kind);
    world.install("echo", "echo");
    world.configure("[defaults]\ncpu-time = \"60s\"\ntimeout = \"10min\"\n");
    let (tcp, unix) = (world.tcp("echo"), world.unix("echo"));
    let host = world.start(&[]);
    tcp.ask("warm").expect_whole("warm");
    let before = host.memory("VmHWM:");
    for address in [tcp, unix] {
        let start = Instant::now();
        let mut client = address.connect();
        let mut sender = client.second();
        let sending = thread::spawn(move || send_pattern(&mut sender, GIB));
        expect_pattern(&mut client, GIB);
        sending.join().expect("everything was sent");
        let speed = 1024.0 / start.elapsed().as_secs_f64();
        eprintln!("{address:?}: {speed:.0} MiB/s each way");
    }
    let grown = host.memory("VmHWM:") - before;
    assert!(grown < 4 * MIB, "the host grew by {grown} bytes");
}

each_kind! { BOTH: a_slow_reader_makes_its_guest_wait_and_not_the_host_grow }
fn a_slow_reader_makes_its_guest_wait_and_not_the_host_grow(kind: Kind) {
    let world = World::new(kind);
    world.actor("big", "big 10000000", "");
    world.install("hello", "hello");
    let (big, hello) = (world.tcp("big"), world.tcp("hello"));
    let host = world.start(&[]);
    assert_eq!(big.knock().bytes.len(), 10_000_000);
    let before = host.memory("VmHWM:");
    let mut slow: Vec<Client> = (0..20).map(|_| big.connect()).collect();
    let mut chunk = [0; 1024];
    for round in 0..50 {
        for client in &mut slow {
            client.read_exact(&mut chunk).expect("1 KiB of the answer");
        }
        assert!(hello.knock().text().contains("Hello"), "round {round}");
    }
    let grown = host.memory("VmHWM:") - before;
    assert!(grown < 20 * MIB, "20 slow readers made the host grow by {grown} bytes");
    for client in &mut slow {
        let mut rest = 0;
        assert_eq!(client.read_until_end(|chunk| rest += chunk.len()), End::Closed);
        assert_eq!(rest, 10_000_000 - 50 * 1024);
    }
}

each_kind! { BOTH: five_hundred_clients_at_once_are_all_answered }
fn five_hundred_clients_at_once_are_all_answered(kind: Kind) {
    let world = World::new(kind);
    world.install("echo", "echo");
    let address = world.tcp("echo");
    let _host = world.start(&[]);
    let mut clients: Vec<Client> = (0..500).map(|_| address.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.send(format!("client {number}\n"));
    }
    // 256 of them at a time (`max-connections`): the last ones wait for the first to leave.
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.line(), format!("client {number}"));
        client.finish();
        client.answer().expect_whole("");
    }
}

each_kind! { BOTH: clients_in_many_threads_are_all_answered_from_a_cold_start }
fn clients_in_many_threads_are_all_answered_from_a_cold_start(kind: Kind) {
    let world = World::new(kind);
    world.install("hello", "hello");
    let address = world.tcp("hello");
    let barrier = Barrier::new(50);
    let _host = thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| {
                barrier.wait();
                for _ in 0..20 {
                    assert!(address.knock().text().starts_with("Hello, 127.0.0.1"));
                }
            });
        }
        world.start(&[])
    });
}

#[test]
fn a_host_with_a_connection_that_says_nothing_uses_no_cpu_time() {
    let world = World::alone(Kind::P1);
    world.install("echo", "echo");
    let address = world.tcp("echo");
    let host = world.start(&[]);
    let mut client = address.connect();
    client.send("a\n");
    assert_eq!(client.line(), "a");
    let before = host.cpu_time();
    assert!(!client.hears_anything_within(std::time::Duration::from_millis(700)));
    let used = host.cpu_time() - before;
    assert!(used.as_millis() <= 10, "an idle connection used {used:?} in 700 ms");
}
