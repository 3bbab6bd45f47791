//! Connections that another process accepted, each with a host of its own: systemd with `Accept=yes`,
//! inetd and its like with the connection as standard input.

mod exit_code;
mod programs;
mod sockets;

use std::os::fd::OwnedFd;
use std::path::PathBuf;

use harness::{Address, Client, Correspondent, End, Host, Kind, Launch, World, each_kind};
use rustix::net::{SocketFlags, accept_with};
use rustix::process::Signal;

/// The name of what was accepted (`systemd.socket(5)`), and so that of its handler.
const NAME: &str = "connection";

fn accept(listener: &OwnedFd) -> OwnedFd {
    accept_with(listener, SocketFlags::CLOEXEC).expect("accept")
}

/// A client, and the other end of its connection.
fn connection(world: &World, address: impl FnOnce(&World, &str) -> Address) -> (Client, OwnedFd) {
    let address = address(world, NAME);
    let listener = world.take();
    let client = address.connect();
    let accepted = accept(&listener);
    if let Address::Unix(path) = address {
        // For the next of this name.
        std::fs::remove_file(path).unwrap();
    }
    (client, accepted)
}

fn tcp(world: &World) -> (Client, OwnedFd) {
    connection(world, World::tcp)
}

/// One connection of every sort.
fn connections(world: &World) -> [(Client, OwnedFd); 4] {
    [
        connection(world, World::tcp),
        connection(world, World::tcp6),
        connection(world, World::unix),
        connection(world, World::abstract_unix),
    ]
}

/// A connection of packets.
fn packets(world: &World) -> (Correspondent, OwnedFd) {
    let destination = world.packets(NAME);
    let listener = world.take();
    (destination.connect(), accept(&listener))
}

/// Starts a host with a connection and these arguments.
type Way = fn(&World, OwnedFd, &[&str]) -> Host;

/// The three ways to pass a connection.
const WAYS: [Way; 3] = [
    |world, connection, arguments| {
        world.pass(NAME, connection);
        world.hand_over(arguments)
    },
    |world, connection, arguments| with_module(world, Launch::ucspi, connection, arguments),
    |world, connection, arguments| with_module(world, Launch::inetd, connection, arguments),
];

/// The last of them, which leaves the host no standard error of its own.
const INETD: usize = 2;

fn with_module(world: &World, way: fn(Launch, OwnedFd) -> Launch, connection: OwnedFd, arguments: &[&str]) -> Host {
    let module = module(world).display().to_string();
    let launch = way(world.launch(), connection).args(&["--module", &module]);
    launch.args(arguments).start()
}

/// The one module of this world.
fn module(world: &World) -> PathBuf {
    let modules = ["actor.cwasm", "connection.cwasm"].map(|name| world.module(name));
    let module = modules.iter().find(|path| path.exists());
    module.unwrap_or(&world.module("missing.wasm")).clone()
}

/// What the guest behind a connection learns about who calls.
fn environment(client: &Client, address: (&str, u16)) -> String {
    let (ip, local, remote) = (address.0, address.1, client.local_port());
    format!(
        "PROTO=TCP\nREMOTE_ADDR={ip}\nREMOTE_PORT={remote}\nTCPLOCALIP={ip}\nTCPLOCALPORT={local}\n\
         TCPREMOTEIP={ip}\nTCPREMOTEPORT={remote}\nWASM_SOCK_NAME={NAME}\n"
    )
}

fn unix_environment() -> String {
    format!(
        "PROTO=UNIX\nUNIXREMOTEGID={}\nUNIXREMOTEPID={}\nUNIXREMOTEUID={}\nWASM_SOCK_NAME={NAME}\n",
        rustix::process::getgid().as_raw(),
        std::process::id(),
        rustix::process::getuid().as_raw(),
    )
}

each_kind! { ALL: an_accepted_connection_is_answered_and_then_its_host_leaves }
fn an_accepted_connection_is_answered_and_then_its_host_leaves(kind: Kind) {
    for way in WAYS {
        let world = World::new(kind);
        world.echo(NAME);
        for (mut client, accepted) in connections(&world) {
            let mut host = way(&world, accepted, &["--idle-timeout", "infinity"]);
            client.send("ping\n");
            assert_eq!(client.line(), "ping");
            assert!(host.is_running());
            client.send("more");
            client.finish();
            client.answer().expect_whole("more");
            drop(client);
            host.expect_exit(0);
        }
    }
}

each_kind! { ALL: the_guest_of_an_accepted_connection_learns_who_calls }
fn the_guest_of_an_accepted_connection_learns_who_calls(kind: Kind) {
    for way in WAYS {
        let world = World::new(kind);
        world.actor(NAME, "env", "");
        for (ip, pass) in [
            ("127.0.0.1", World::tcp as fn(&World, &str) -> Address),
            ("::1", World::tcp6),
        ] {
            let address = pass(&world, NAME);
            let listener = world.take();
            let mut client = address.connect();
            let mut host = way(&world, accept(&listener), &[]);
            let answer = client.answer().text();
            let expected = environment(&client, (ip, address.port()));
            assert!(answer.starts_with(&expected), "{answer}");
            drop(client);
            host.expect_exit(0);
        }
        let (mut client, accepted) = connection(&world, World::unix);
        let mut host = way(&world, accepted, &[]);
        let answer = client.answer().text();
        assert!(answer.starts_with(&unix_environment()), "{answer}");
        drop(client);
        host.expect_exit(0);
    }
}

each_kind! { ALL: an_accepted_connection_of_packets_is_served_in_packets }
fn an_accepted_connection_of_packets_is_served_in_packets(kind: Kind) {
    for way in WAYS {
        let world = World::new(kind);
        world.echo(NAME);
        let (client, accepted) = packets(&world);
        let mut host = way(&world, accepted, &[]);
        assert_eq!(client.ask("one"), b"one");
        assert_eq!(client.ask("two"), b"two");
        client.finish();
        assert_eq!(client.packets(), (vec![], End::Closed));
        host.expect_exit(0);
    }
}

each_kind! { ALL: a_large_answer_to_an_accepted_connection_arrives_whole }
fn a_large_answer_to_an_accepted_connection_arrives_whole(kind: Kind) {
    for way in WAYS {
        let world = World::new(kind);
        world.actor(NAME, "big 5000000", "");
        for (mut client, accepted) in connections(&world) {
            let mut host = way(&world, accepted, &[]);
            let answer = client.answer();
            assert_eq!((answer.bytes.len(), answer.end), (5_000_000, End::Closed));
            drop(client);
            host.expect_exit(0);
        }
    }
}

each_kind! { BOTH: an_answer_arrives_whole_though_nobody_read_the_words_of_an_accepted_client }
fn an_answer_arrives_whole_though_nobody_read_the_words_of_an_accepted_client(kind: Kind) {
    for way in WAYS {
        let world = World::new(kind);
        world.actor(NAME, "reply-early", "");
        for (mut client, accepted) in connections(&world) {
            client.send("x".repeat(50_000));
            let mut host = way(&world, accepted, &[]);
            client.answer().expect_whole("early\n");
            drop(client);
            host.expect_exit(0);
        }
    }
}

each_kind! { ALL: a_guest_that_traps_resets_an_accepted_connection_and_its_host_ends_well }
fn a_guest_that_traps_resets_an_accepted_connection_and_its_host_ends_well(kind: Kind) {
    for way in WAYS {
        let world = World::new(kind);
        world.actor(NAME, "trap", "");
        let (mut client, accepted) = tcp(&world);
        let mut host = way(&world, accepted, &[]);
        client.answer().expect_reset_after("before\n");
        host.expect_exit(0);
    }
}

#[test]
fn a_guest_that_fails_answers_an_accepted_connection_and_its_host_ends_well() {
    for (kind, code) in [(Kind::P1, 3), (Kind::P2, 1), (Kind::P3, 3)] {
        for way in WAYS {
            let world = World::new(kind);
            world.actor(NAME, &format!("exit {code}"), "");
            let (mut client, accepted) = tcp(&world);
            let mut host = way(&world, accepted, &[]);
            client.answer().expect_whole("bye\n");
            drop(client);
            host.expect_exit(0);
        }
    }
}

#[test]
fn an_accepted_connection_for_a_module_that_is_missing_is_reset() {
    for (number, way) in WAYS.iter().enumerate() {
        let world = World::new(Kind::P1);
        let (mut client, accepted) = tcp(&world);
        let mut host = way(&world, accepted, &["--idle-timeout", "infinity"]);
        client.answer().expect_reset_after("");
        host.expect_exit(0);
        let told = usize::from(number != INETD);
        assert_eq!(host.log.count("connection: "), told, "{}", host.log.text());
    }
}

each_kind! { BOTH: an_accepted_client_that_leaves_takes_guest_and_host_along }
fn an_accepted_client_that_leaves_takes_guest_and_host_along(kind: Kind) {
    for way in WAYS {
        let world = World::new(kind);
        world.actor(NAME, "sleep", "");
        for (mut client, accepted) in connections(&world) {
            let mut host = way(&world, accepted, &[]);
            assert_eq!(client.line(), "up");
            client.vanish();
            host.expect_exit(0);
        }
    }
}

each_kind! { ALL: a_client_that_left_before_its_host_came_does_no_harm }
fn a_client_that_left_before_its_host_came_does_no_harm(kind: Kind) {
    for way in WAYS {
        let world = World::new(kind);
        world.echo(NAME);
        for (client, accepted) in connections(&world) {
            client.vanish();
            way(&world, accepted, &[]).expect_exit(0);
        }
    }
}

each_kind! { ALL: a_host_told_to_stop_finishes_its_accepted_connection }
fn a_host_told_to_stop_finishes_its_accepted_connection(kind: Kind) {
    for way in WAYS {
        let world = World::new(kind);
        world.echo(NAME);
        let (mut client, accepted) = tcp(&world);
        let mut host = way(&world, accepted, &[]);
        client.send("a\n");
        assert_eq!(client.line(), "a");
        host.signal(Signal::TERM);
        host.notifications.expect("STOPPING=1");
        client.send("b\n");
        assert_eq!(client.line(), "b");
        client.finish();
        client.answer().expect_whole("");
        drop(client);
        host.expect_exit(0);
    }
}

each_kind! { ALL: what_is_logged_never_reaches_the_client }
fn what_is_logged_never_reaches_the_client(kind: Kind) {
    let world = World::new(kind);
    let part = match kind {
        Kind::P3 => "stderr fine",
        Kind::P1 | Kind::P2 => "stderr",
    };
    world.actor(NAME, part, "");
    for way in WAYS {
        let (mut client, accepted) = tcp(&world);
        let mut host = way(&world, accepted, &[]);
        client.answer().expect_whole("ok\n");
        drop(client);
        host.expect_exit(0);
    }
}

#[test]
fn bad_configuration_is_not_told_to_the_client() {
    for way in WAYS {
        let world = World::new(Kind::P1);
        world.echo(NAME);
        world.configure("[defaults]\nmemroy = 1\n");
        let (mut client, accepted) = tcp(&world);
        let mut host = way(&world, accepted, &[]);
        client.answer().expect_reset_after("");
        host.expect_exit(78);
    }
}

#[test]
fn an_http_guest_answers_on_an_accepted_connection() {
    for kind in [Kind::P2, Kind::P3] {
        for way in WAYS {
            let world = World::new(kind);
            world.install(NAME, "http-actor");
            for (mut client, accepted) in connections(&world) {
                let mut host = way(&world, accepted, &["--idle-timeout", "infinity"]);
                client.send("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
                let answer = client.answer();
                assert!(answer.text().starts_with("HTTP/1.1 200 OK\r\n"), "{answer:?}");
                assert!(answer.text().contains("hello\n"), "{answer:?}");
                assert_eq!(answer.end, End::Closed);
                drop(client);
                host.expect_exit(0);
            }
        }
    }
}
