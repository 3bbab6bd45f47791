//! Guests in many languages, each made by its own toolchain, exchange bytes as those in Rust do.
//!
//! The programs are the examples (`guests/hello-*`), and one that plays parts, written in each language
//! (`tests/actors/languages`). What answers HTTP is in `http_languages.rs`, what others released in `corpus`.

use std::io::Write;
use std::thread;

use harness::{Address, Client, Destination, End, Host, Kind, PATIENCE, World};

const MIB: usize = 1024 * 1024;

/// A program that plays parts.
#[derive(Clone, Copy)]
struct Actor {
    kind: Kind,
    guest: &'static str,
    /// The examples in Rust play one part only, and take no argument.
    plays: bool,
    /// How `abort` and its like end.
    abort: Abort,
}

#[derive(Clone, Copy, PartialEq)]
enum Abort {
    Traps,
    Exits(i32),
}

const fn actor(guest: &'static str, abort: Abort) -> Actor {
    let (kind, plays) = (Kind::P1, true);
    Actor {
        kind,
        guest,
        plays,
        abort,
    }
}

const RUST: [Actor; 2] = [rust(Kind::P1), rust(Kind::P2)];

const fn rust(kind: Kind) -> Actor {
    Actor {
        kind,
        guest: "echo",
        plays: false,
        abort: Abort::Traps,
    }
}

const GO: Actor = actor("actor-go", Abort::Exits(2));

const ACTORS: [Actor; 6] = [
    actor("actor-c", Abort::Traps),
    actor("actor-cpp", Abort::Traps),
    actor("actor-cpp-exceptions", Abort::Traps),
    actor("actor-zig", Abort::Traps),
    actor("actor-assemblyscript", Abort::Exits(255)),
    GO,
];

fn echoes() -> impl Iterator<Item = Actor> {
    RUST.into_iter().chain(ACTORS)
}

/// Enough of everything but memory.
const PATIENT: &str = "timeout = \"10min\"\ncpu-time = \"10min\"";

impl Actor {
    /// A handler of this name that plays `part`.
    fn plays_as(&self, world: &World, handler: &str, part: &str) {
        let module = format!("{}.cwasm", self.guest);
        if !world.module(&module).exists() {
            world.install(self.guest, self.guest);
        }
        let part: Vec<&str> = part.split(' ').filter(|_| self.plays).collect();
        world.configure(&format!(
            "[handler.{handler}]\nmodule = {module:?}\nargs = {part:?}\n{PATIENT}\n"
        ));
    }
}

/// All bytes there are, with a period that is a prime.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 65_521 % 251) as u8).collect()
}

/// Sends a pattern in a thread of its own, `size` bytes in all, and compares what comes back with it.
fn expect_echo(address: &Address, size: usize, what: &str) {
    let mut client = address.connect();
    let mut sender = client.second();
    // A whole number of periods.
    let block = pattern(65_521);
    let sending = thread::spawn(move || send(&mut sender, size));
    let mut at = 0;
    let end = client.read_until_end(|mut chunk| {
        while !chunk.is_empty() {
            let expected = &block[at % block.len()..];
            let count = expected.len().min(chunk.len());
            assert!(chunk[..count] == expected[..count], "{what}: near {at}");
            at += count;
            chunk = &chunk[count..];
        }
    });
    assert_eq!((at, end), (size, End::Closed), "{what}");
    sending.join().expect("everything was sent");
}

fn send(client: &mut Client, size: usize) {
    let block = pattern(65_521);
    let mut left = size;
    while left > 0 {
        let count = left.min(block.len());
        client.write_all(&block[..count]).expect("send");
        left -= count;
    }
    client.finish();
}

#[test]
fn a_megabyte_goes_through_a_stream_byte_for_byte() {
    for actor in echoes() {
        let world = World::new(actor.kind);
        actor.plays_as(&world, "echo", "echo");
        let addresses = [world.tcp("echo"), world.unix("echo")];
        let _host = world.start(&[]);
        for address in addresses {
            for size in [0, 1, 1000, MIB] {
                expect_echo(&address, size, actor.guest);
            }
        }
    }
}

#[test]
fn messages_are_answered_whole() {
    for actor in echoes() {
        let world = World::new(actor.kind);
        actor.plays_as(&world, "echo", "echo");
        let datagrams = [world.udp("echo"), world.unix_datagrams("echo")];
        let packets = world.packets("echo");
        let _host = world.start(&[]);
        for size in [1, 1000, 30_000] {
            for destination in &datagrams {
                let answer = destination.ask(pattern(size));
                assert!(answer == pattern(size), "{}: {size} bytes", actor.guest);
            }
            let answer = all_packets(&packets, &pattern(size));
            assert!(answer == pattern(size), "{}: {size} bytes", actor.guest);
        }
    }
}

/// Sends one packet, and takes all that come.
fn all_packets(destination: &Destination, packet: &[u8]) -> Vec<u8> {
    let client = destination.connect();
    client.send(packet);
    client.finish();
    let (packets, end) = client.packets();
    assert_eq!(end, End::Closed);
    packets.concat()
}

/// A world in which `actor` plays `part` behind a port and a Unix socket.
fn staged(actor: Actor, part: &str) -> (World, [Address; 2], Host) {
    let world = World::new(actor.kind);
    actor.plays_as(&world, "bye", part);
    let addresses = [world.tcp("bye"), world.unix("bye")];
    let host = world.start(&[]);
    (world, addresses, host)
}

#[test]
fn what_was_written_before_an_exit_arrives_and_the_log_has_the_code() {
    for actor in ACTORS {
        for code in [0, 1, 125, 126, 200, 255] {
            let (_world, addresses, host) = staged(actor, &format!("exit {code}"));
            for address in addresses {
                let answer = address.ask("");
                assert_eq!(answer.text(), "bye\n", "{}: {code}", actor.guest);
                assert_eq!(answer.end, End::Closed, "{}: {code}", actor.guest);
            }
            match code {
                0 => host.log.expect("served"),
                _ => host.log.expect(&format!("failed with exit code {code} ")),
            };
        }
    }
}

#[test]
fn a_negative_exit_code_is_what_a_shell_makes_of_it() {
    // Zig's has no sign; its `exit` takes a byte.
    for actor in ACTORS.iter().filter(|actor| actor.guest != "actor-zig") {
        let (_world, [tcp, _], host) = staged(*actor, "exit -1");
        tcp.ask("").expect_whole("bye\n");
        host.log.expect("failed with exit code 255 ");
    }
}

#[test]
fn a_program_that_aborts_ends_as_its_language_has_it() {
    for actor in ACTORS {
        let (_world, [tcp, _], host) = staged(actor, "abort");
        let answer = tcp.ask("");
        let (end, logged) = match actor.abort {
            Abort::Traps => (End::Reset, "ended: ".to_owned()),
            Abort::Exits(code) => (End::Closed, format!("failed with exit code {code} ")),
        };
        let came = (answer.text(), answer.end);
        assert_eq!(came, ("bye\n".to_owned(), end), "{}", actor.guest);
        host.log.expect(&logged);
        if !matches!(actor.guest, "actor-c" | "actor-cpp") {
            // What the language says of it.
            let said = host.log.text();
            let known = ["as it was asked to", "thrown Wasm exception"];
            assert!(known.iter().any(|words| said.contains(words)), "{said}");
        }
    }
}

#[test]
fn goroutines_share_what_one_of_them_reads() {
    let (_world, addresses, _host) = staged(GO, "lines");
    for address in addresses {
        let mut client = address.connect();
        for line in 0..1000 {
            client.send(format!("line {line}\n"));
        }
        client.finish();
        let answer = client.answer();
        answer.expect_whole("1000 lines\n");
    }
}

#[test]
fn one_write_of_megabytes_is_done_whole() {
    // AssemblyScript's library, like many a program in C, does not look how much of a write was done.
    let size = 5_000_000;
    let actor = ACTORS.iter().find(|a| a.guest == "actor-assemblyscript");
    let actor = *actor.expect("it is one of them");
    let (_world, addresses, _host) = staged(actor, &format!("big {size}"));
    for address in addresses {
        let mut client = address.connect();
        // By then the guest waits for room.
        assert!(client.hears_anything_within(PATIENCE));
        let answer = client.answer();
        assert_eq!((answer.bytes.len(), answer.end), (size, End::Closed));
        assert!(answer.bytes == pattern(size));
    }
}

/// Sends `size` bytes through guests in Rust and in Go, with the default of `memory`.
fn go_through_in_constant_memory(size: usize) {
    for actor in RUST.into_iter().chain([GO]) {
        let world = World::new(actor.kind);
        actor.plays_as(&world, "echo", "echo");
        let address = world.tcp("echo");
        let host = world.start(&[]);
        expect_echo(&address, 4 * MIB, actor.guest);
        let before = host.memory("VmHWM:");
        expect_echo(&address, size, actor.guest);
        let more = host.memory("VmHWM:").saturating_sub(before);
        eprintln!("{}: {} KiB more", actor.guest, more / 1024);
        assert!(more < 8 * MIB as u64, "{}: {more} bytes more", actor.guest);
    }
}

#[test]
fn many_bytes_go_through_in_constant_memory() {
    go_through_in_constant_memory(32 * MIB);
}

#[test]
#[ignore = "a minute: `cargo test -p wasm-sock-tests --test languages -- --ignored`"]
fn a_gibibyte_goes_through_in_constant_memory() {
    go_through_in_constant_memory(1024 * MIB);
}

const HELLOS: [&str; 6] = [
    "hello",
    "hello-c",
    "hello-cpp",
    "hello-go",
    "hello-zig",
    "hello-assemblyscript",
];

#[test]
fn the_examples_greet_their_client_on_every_kind_of_socket() {
    for guest in HELLOS {
        let world = World::new(Kind::P1);
        world.install(guest, guest);
        let streams = [world.tcp(guest), world.unix(guest)];
        let messages = [world.udp(guest), world.unix_datagrams(guest), world.packets(guest)];
        let _host = world.start(&[]);
        for address in streams {
            let mut client = address.connect();
            let greeted = match &address {
                Address::Tcp(_) => format!("Hello, 127.0.0.1 port {}!", client.local_port()),
                _ => "Hello, user ".to_owned(),
            };
            client.send("Ada\n");
            client.finish();
            let answer = client.answer();
            expect_greeting(guest, &answer.text(), &greeted);
            assert_eq!(answer.end, End::Closed);
        }
        for destination in messages {
            let client = destination.connect();
            let greeted = match &destination {
                Destination::Udp(_) => format!("Hello, 127.0.0.1 port {}!", client.local_port()),
                Destination::UnixDatagrams(_) => "Hello, ".to_owned(),
                Destination::UnixPackets(_) => "Hello, user ".to_owned(),
            };
            client.send("Ada\n");
            expect_greeting(guest, &client.text(), &greeted);
        }
    }
}

#[track_caller]
fn expect_greeting(guest: &str, text: &str, greeted: &str) {
    let is_greeting = text.starts_with(greeted) && text.contains(guest) && text.ends_with('\n');
    assert!(is_greeting, "{guest}: {text:?} instead of {greeted:?}");
}

#[test]
fn the_examples_are_told_what_to_say_by_the_configuration() {
    for guest in HELLOS {
        let world = World::new(Kind::P1);
        world.install(guest, guest);
        world.configure(&format!(
            "[handler.{guest}]\nargs = [\"--shout\"]\nenv = {{ GREETING = \"Welcome\" }}\n"
        ));
        let address = world.tcp(guest);
        let _host = world.start(&[]);
        let text = address.ask("Ada\n").text();
        assert!(text.starts_with("WELCOME, 127.0.0.1 PORT "), "{text}");
    }
}

#[test]
fn hello_go_talks_with_its_client() {
    let world = World::new(Kind::P1);
    world.install("hello-go", "hello-go");
    let address = world.tcp("hello-go");
    let _host = world.start(&[]);
    let mut client = address.connect();
    assert!(client.line().ends_with("What is your name?"));
    client.send("Ada\n");
    client.answer().expect_whole("Goodbye, Ada!\n");
}

#[test]
fn sum_cpp_catches_what_its_standard_library_throws() {
    let world = World::new(Kind::P1);
    world.install("sum-cpp", "sum-cpp");
    let address = world.tcp("sum-cpp");
    let host = world.start(&[]);
    let mut client = address.connect();
    for (line, answer) in [
        ("21", "21"),
        ("x", "not added: stoll: no conversion"),
        ("1 2", "not added: there is more in the line than a number"),
        ("-1", "20"),
        ("9223372036854775807", "not added: the sum is too large"),
        ("9223372036854775808", "not added: stoll: out of range"),
        ("22", "42"),
    ] {
        client.send(format!("{line}\n"));
        assert_eq!(client.line(), answer);
    }
    client.finish();
    client.answer().expect_whole("");
    host.log.expect("served");
    // Thousands of them leave nothing behind.
    let answer = address.ask(&"x\n".repeat(20_000)).text();
    assert_eq!(answer.lines().count(), 20_000);
}
