//! The three ways a connection ends: the guest is done, the guest was ended, the client left.

use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

use harness::{Answer, Client, End, Kind, World, each_kind, eventually};

const MIB: usize = 1024 * 1024;

/// Sends this much in a thread of its own, and does not mind when the peer does not read it.
fn pour(client: &Client, bytes: usize) -> thread::JoinHandle<()> {
    let mut second = client.second();
    thread::spawn(move || {
        let chunk = [b'x'; 64 * 1024];
        for _ in 0..bytes / chunk.len() {
            if second.write_all(&chunk).is_err() {
                return;
            }
        }
    })
}

each_kind! { BOTH: an_answer_arrives_whole_though_nobody_read_the_clients_words }
fn an_answer_arrives_whole_though_nobody_read_the_clients_words(kind: Kind) {
    let world = World::new(kind);
    world.actor("early", "reply-early", "");
    let addresses = [world.tcp("early"), world.unix("early")];
    let _host = world.start(&[]);
    for round in 0..100 {
        for address in &addresses {
            let mut client = address.connect();
            let pouring = pour(&client, MIB);
            let answer = client.answer();
            pouring.join().unwrap();
            assert_eq!(answer.text(), "early\n", "round {round}");
            assert_eq!(answer.end, End::Closed, "round {round}");
        }
    }
}

each_kind! { BOTH: an_answer_arrives_whole_though_the_client_reads_it_only_after_all_its_words }
fn an_answer_arrives_whole_though_the_client_reads_it_only_after_all_its_words(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("early", "reply-early", "");
    let _host = world.start(&[]);
    for _ in 0..100 {
        let mut client = address.connect();
        pour(&client, MIB).join().unwrap();
        client.finish();
        client.answer().expect_whole("early\n");
    }
}

each_kind! { BOTH: a_large_answer_arrives_whole_after_the_guest_has_left }
fn a_large_answer_arrives_whole_after_the_guest_has_left(kind: Kind) {
    let world = World::new(kind);
    world.actor("big", "big 5000000", "");
    let addresses = [world.tcp("big"), world.unix("big")];
    let _host = world.start(&[]);
    for address in addresses {
        let Answer { bytes, end } = address.knock();
        assert_eq!((bytes.len(), end), (5_000_000, End::Closed));
        let wrong = bytes.iter().enumerate().find(|(n, b)| (n % 251) as u8 != **b);
        assert_eq!(wrong, None, "the first wrong byte");
    }
}

each_kind! { BOTH: an_answer_that_the_kernel_holds_arrives_after_the_host_has_left }
fn an_answer_that_the_kernel_holds_arrives_after_the_host_has_left(kind: Kind) {
    let world = World::new(kind);
    world.actor("big", "big 100000", "");
    for address in [world.tcp("big"), world.unix("big")] {
        let mut client = address.connect();
        client.finish();
        let mut host = world.start(&["--idle-timeout", "0"]);
        host.expect_exit(0);
        let Answer { bytes, end } = client.answer();
        assert_eq!((bytes.len(), end), (100_000, End::Closed));
    }
}

each_kind! { BOTH: a_client_may_go_on_sending_after_the_guest_has_left }
fn a_client_may_go_on_sending_after_the_guest_has_left(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("bye", "exit 0", "");
    let host = world.start(&[]);
    let mut client = address.connect();
    client.answer().expect_whole("bye\n");
    client.send(vec![b'x'; MIB]);
    client.finish();
    host.log.expect("served");
    host.expect_in_flight(0);
    client.answer().expect_whole("");
}

#[test]
fn a_guest_that_fails_still_delivers_its_answer_and_is_logged() {
    // What is asked for, and what comes of it, as a shell has it.
    for (kind, asked, code) in [
        (Kind::P1, 3, 3),
        (Kind::P1, 126, 126),
        (Kind::P1, 255, 255),
        (Kind::P1, -1, 255),
        (Kind::P1, 257, 1),
        (Kind::P2, 1, 1),
        (Kind::P2, -1, 1),
    ] {
        let world = World::new(kind);
        world.actor("bye", &format!("exit {asked}"), "");
        let addresses = [world.tcp("bye"), world.unix("bye")];
        let host = world.start(&[]);
        for address in addresses {
            address.knock().expect_whole("bye\n");
        }
        let line = host.log.expect("failed with exit code");
        assert!(line.contains("bye 127.0.0.1:"), "{line}");
        assert!(line.contains(&format!("exit code {code} ")), "{line}");
    }
}

#[test]
fn a_multiple_of_256_is_an_exit_code_of_0() {
    let world = World::new(Kind::P1);
    let address = world.actor_port("bye", "exit 256", "");
    let host = world.start(&[]);
    address.knock().expect_whole("bye\n");
    host.log.expect("served");
}

/// A component that ends by way of `exit-with-code`.
const EXITS_WITH_200: &str = r#"(component
    (import "wasi:cli/exit@0.2.6" (instance $exit
        (export "exit-with-code" (func (param "status-code" u8)))))
    (core func $exit (canon lower (func $exit "exit-with-code")))
    (core module $m
        (import "host" "exit" (func $exit (param i32)))
        (func (export "run") (result i32) (call $exit (i32.const 200)) (i32.const 0)))
    (core instance $i (instantiate $m (with "host" (instance (export "exit" (func $exit))))))
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $run (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $run)))"#;

#[test]
fn a_component_may_tell_its_exit_code() {
    let world = World::new(Kind::P2);
    world.compile(&wat::parse_str(EXITS_WITH_200).expect("valid text"), "bye");
    let address = world.tcp("bye");
    let host = world.start(&[]);
    address.knock().expect_whole("");
    host.log.expect("failed with exit code 200");
}

each_kind! { BOTH: a_guest_that_traps_resets_its_client_and_never_ends_cleanly }
fn a_guest_that_traps_resets_its_client_and_never_ends_cleanly(kind: Kind) {
    let world = World::new(kind);
    let (late, early) = (
        world.actor_port("late", "trap", ""),
        world.actor_port("early", "trap-early", ""),
    );
    let host = world.start(&[]);
    for _ in 0..50 {
        late.knock().expect_reset_after("before\n");
        early.knock().expect_reset_after("");
    }
    let line = host.log.expect("late 127.0.0.1:");
    assert!(line.contains("ended: ") && line.contains("unreachable"), "{line}");
    assert!(!line.contains("\\x0a"), "several lines in one: {line}");
}

each_kind! { BOTH: a_guest_that_traps_resets_its_unix_client_whose_words_it_did_not_read }
/// A Unix socket has no reset of its own; the kernel makes one when words were left unread.
fn a_guest_that_traps_resets_its_unix_client_whose_words_it_did_not_read(kind: Kind) {
    let world = World::new(kind);
    world.actor("trap", "trap", "");
    let address = world.unix("trap");
    let mut client = address.connect();
    client.send("are you there?\n");
    let _host = world.start(&[]);
    client.answer().expect_reset_after("before\n");
}

each_kind! { BOTH: a_guest_that_traps_loses_its_own_connection_only }
fn a_guest_that_traps_loses_its_own_connection_only(kind: Kind) {
    let world = World::new(kind);
    let trap = world.actor_port("trap", "trap", "");
    let patient = world.actor_port("patient", "pingpong", "");
    let _host = world.start(&[]);
    let mut client = patient.connect();
    for _ in 0..20 {
        trap.knock().expect_reset_after("before\n");
        client.send("still here?\n");
        assert_eq!(client.line(), "still here?");
    }
}

each_kind! { BOTH: a_client_that_resets_ends_its_guest_at_once }
fn a_client_that_resets_ends_its_guest_at_once(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("sleep", "sleep", "");
    let host = world.start(&[]);
    let mut client = address.connect();
    assert_eq!(client.line(), "up");
    client.vanish();
    host.log.expect("client left");
    host.expect_in_flight(0);
}

each_kind! { BOTH: a_client_that_resets_while_its_guest_reads_ends_it }
fn a_client_that_resets_while_its_guest_reads_ends_it(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("reader", "pingpong", "");
    let mut client = address.connect();
    client.send("a\n");
    let mut host = world.start(&["--idle-timeout", "0"]);
    assert_eq!(client.line(), "a");
    client.vanish();
    host.expect_exit(0);
}

each_kind! { BOTH: thousands_of_clients_that_reset_with_input_unread_disturb_nobody }
fn thousands_of_clients_that_reset_with_input_unread_disturb_nobody(kind: Kind) {
    let world = World::alone(kind);
    world.install("echo", "echo");
    world.install("hello", "hello");
    let (echo, hello) = (world.tcp("echo"), world.tcp("hello"));
    let host = world.start(&[]);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..1000 {
                    let mut client = echo.connect();
                    client.send("hello\n");
                    client.vanish();
                }
            });
        }
    });
    assert!(hello.knock().text().starts_with("Hello"));
    // Those in the queue are served yet; then there is nothing left to do.
    eventually("the host rests", || {
        let before = host.cpu_time();
        thread::sleep(Duration::from_millis(300));
        host.cpu_time() - before < Duration::from_millis(50)
    });
    host.expect_in_flight(0);
}

each_kind! { BOTH: a_unix_client_that_closes_ends_its_guest_at_once }
fn a_unix_client_that_closes_ends_its_guest_at_once(kind: Kind) {
    let world = World::new(kind);
    world.actor("sleep", "sleep", "");
    let address = world.unix("sleep");
    let mut client = address.connect();
    let mut host = world.start(&["--idle-timeout", "0"]);
    assert_eq!(client.line(), "up");
    drop(client);
    host.expect_exit(0);
    host.log.expect("client left");
}

each_kind! { BOTH: a_client_that_resets_after_its_last_word_ends_its_guest }
fn a_client_that_resets_after_its_last_word_ends_its_guest(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("sleep", "sleep", "");
    let host = world.start(&[]);
    let mut client = address.connect();
    client.finish();
    assert_eq!(client.line(), "up");
    client.vanish();
    host.log.expect("client left");
}

each_kind! { BOTH: a_client_that_vanishes_in_the_middle_of_an_answer_ends_its_guest }
fn a_client_that_vanishes_in_the_middle_of_an_answer_ends_its_guest(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("flood", "flood", "");
    let mut client = address.connect();
    let mut host = world.start(&["--idle-timeout", "0"]);
    client.read_exact(&mut [0; 1000]).expect("some of it");
    client.vanish();
    host.expect_exit(0);
}

each_kind! { BOTH: a_client_that_vanishes_ends_its_guest_though_it_computes }
fn a_client_that_vanishes_ends_its_guest_though_it_computes(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("spin", "spin", "cpu-time = \"infinity\"");
    let host = world.start(&[]);
    let client = address.connect();
    host.expect_in_flight(1);
    client.vanish();
    host.log.expect("client left");
    host.expect_in_flight(0);
    // In its thread, too: nothing computes any more.
    let mut before = host.cpu_time();
    eventually("the guest no longer computes", || {
        std::thread::sleep(std::time::Duration::from_millis(100));
        let now = host.cpu_time();
        std::mem::replace(&mut before, now) == now
    });
}
