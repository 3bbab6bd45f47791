//! Every kind of socket with every kind of guest: each pair does what docs/sockets.md says.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use harness::{Address, Destination, Kind, World, wasm_sock};

/// The columns of the table: the world, and whether the guest speaks HTTP.
const GUESTS: [(&str, Kind, bool); 5] = [
    ("core module 0.1", Kind::P1, false),
    ("command 0.2", Kind::P2, false),
    ("command 0.3", Kind::P3, false),
    ("HTTP 0.2", Kind::P2, true),
    ("HTTP 0.3", Kind::P3, true),
];

/// The rows: what the line begins with, and what a guest makes of such a socket.
type Row = (&'static str, fn(&World, bool) -> String);

const SOCKETS: [Row; 7] = [
    ("TCP ", |world, http| stream(world, &world.tcp("x"), http)),
    ("Unix stream", |world, http| {
        let named = stream(world, &world.unix("x"), http);
        let nameless = stream(world, &world.abstract_unix("x"), http);
        assert_eq!(named, nameless, "with an abstract name");
        named
    }),
    ("UDP ", |world, http| messages(world, &world.udp("x"), http)),
    ("Unix datagram", |world, http| {
        messages(world, &world.unix_datagrams("x"), http)
    }),
    ("Unix packets", |world, http| messages(world, &world.packets("x"), http)),
    ("accepted by systemd", |world, http| {
        let (client, passed) = UnixStream::pair().expect("a connection");
        world.pass("x", passed);
        let mut host = world.start(&[]);
        let answer = ask(client, http);
        host.expect_exit(0);
        answer
    }),
    ("accepted by inetd", |world, http| {
        let (client, passed) = UnixStream::pair().expect("a connection");
        let module = ["x.cwasm", "actor.cwasm"].map(|name| world.module(name));
        let host = Command::new(wasm_sock())
            .args(["host", "--module"])
            .arg(module.iter().find(|path| path.exists()).expect("a module"))
            .stdin(Stdio::from(OwnedFd::from(passed)))
            .spawn();
        let answer = ask(client, http);
        let status = host.expect("start the host").wait().expect("wait");
        assert!(status.success(), "{status}");
        answer
    }),
];

const WORDS: &str = "hello\n";
const REQUEST: &str = "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";

/// What a client of a stream gets.
fn ask(mut client: UnixStream, http: bool) -> String {
    let words = if http { REQUEST } else { WORDS };
    client.write_all(words.as_bytes()).expect("send");
    client.shutdown(Shutdown::Write).expect("half-close");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    kind_of(&answer)
}

fn kind_of(answer: &str) -> String {
    match answer {
        WORDS => "bytes".to_owned(),
        _ if answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains(WORDS) => "HTTP".to_owned(),
        _ => answer.to_owned(),
    }
}

fn stream(world: &World, address: &Address, http: bool) -> String {
    let _host = world.start(&[]);
    let answer = address.ask(if http { REQUEST } else { WORDS });
    kind_of(&answer.text())
}

/// What a client that sends a message gets; or the log says why nobody gets anything.
fn messages(world: &World, destination: &Destination, http: bool) -> String {
    let host = world.start(&[]);
    let client = destination.connect();
    client.send(WORDS);
    if http {
        host.log.expect("ListenStream=");
        return "refused".to_owned();
    }
    assert_eq!(client.text(), WORDS);
    let is_packets = matches!(destination, Destination::UnixPackets(_));
    if is_packets { "packets" } else { "datagrams" }.to_owned()
}

/// The cells of the line of the table in docs/sockets.md that begins with `socket`.
fn promised(socket: &str) -> Vec<String> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/sockets.md");
    let text = fs::read_to_string(page).expect("read docs/sockets.md");
    let line = text
        .lines()
        .find(|line| line.starts_with(&format!("| {socket}")))
        .unwrap_or_else(|| panic!("docs/sockets.md has no line for {socket:?}"));
    let cells: Vec<String> = line
        .trim_matches('|')
        .split('|')
        .map(|cell| cell.trim().to_owned())
        .collect();
    cells[1..].to_vec()
}

#[test]
fn every_pair_of_socket_and_guest_does_what_the_book_says() {
    for (socket, serve) in SOCKETS {
        let promised = promised(socket);
        assert_eq!(promised.len(), GUESTS.len(), "{socket}");
        for ((guest, kind, http), promised) in GUESTS.iter().zip(promised) {
            let world = World::new(*kind);
            match http {
                true => drop(world.install("x", "http-actor")),
                false => world.echo("x"),
            }
            assert_eq!(serve(&world, *http), promised, "{socket} with a {guest}");
        }
    }
}
