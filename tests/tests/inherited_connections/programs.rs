//! The real programs: OpenBSD's inetd, xinetd, tcpserver and s6-ipcserver.

use std::io::{Read, Write};

use harness::{Address, End, Inetd, Kind, World, each_kind};

use crate::{NAME, module, unix_environment};

/// Starts a program that starts hosts with these arguments.
type Server = fn(&World, &[&str]) -> Inetd;

/// Each answers a TCP port, by a host for each connection.
const TCP_SERVERS: [Server; 3] = [Inetd::openbsd, Inetd::xinetd, Inetd::tcpserver];

fn start(world: &World, server: Server, idle: &str) -> Inetd {
    let module = module(world).display().to_string();
    server(world, &["host", "--module", &module, "--idle-timeout", idle])
}

each_kind! { ALL: inetd_xinetd_and_tcpserver_pass_connections_that_know_who_calls }
fn inetd_xinetd_and_tcpserver_pass_connections_that_know_who_calls(kind: Kind) {
    for server in TCP_SERVERS {
        let world = World::new(kind);
        world.actor(NAME, "env", "");
        let server = start(&world, server, "0");
        for _ in 0..5 {
            let mut client = server.address.connect();
            let answer = client.answer();
            let text = answer.text();
            let remote = client.local_port();
            let Address::Tcp(local) = server.address else {
                unreachable!("it is TCP")
            };
            let expected = format!(
                "PROTO=TCP\nREMOTE_ADDR=127.0.0.1\nREMOTE_PORT={remote}\n\
                 TCPLOCALIP={}\nTCPLOCALPORT={}\n\
                 TCPREMOTEIP=127.0.0.1\nTCPREMOTEPORT={remote}\nWASM_SOCK_NAME={NAME}\n",
                local.ip(),
                local.port()
            );
            assert!(text.starts_with(&expected), "{text}");
            assert_eq!(answer.end, End::Closed);
        }
    }
}

each_kind! { BOTH: inetd_xinetd_and_tcpserver_pass_every_byte_and_nothing_else }
fn inetd_xinetd_and_tcpserver_pass_every_byte_and_nothing_else(kind: Kind) {
    for server in TCP_SERVERS {
        let world = World::new(kind);
        world.actor(NAME, "stderr", "");
        let noisy = start(&world, server, "0");
        noisy.address.knock().expect_whole("ok\n");
        drop(noisy);
        let world = World::new(kind);
        world.echo(NAME);
        let echo = start(&world, server, "0");
        let mut client = echo.address.connect();
        let sent: Vec<u8> = (0..1_000_000).map(|n| (n % 251) as u8).collect();
        let mut second = client.second();
        let sending = sent.clone();
        let sender = std::thread::spawn(move || {
            second.write_all(&sending).unwrap();
            second.finish();
        });
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        sender.join().unwrap();
        assert!(answer == sent, "{} bytes came back", answer.len());
    }
}

each_kind! { ALL: inetd_xinetd_and_tcpserver_show_a_trap_as_a_reset }
fn inetd_xinetd_and_tcpserver_show_a_trap_as_a_reset(kind: Kind) {
    for server in TCP_SERVERS {
        let world = World::new(kind);
        world.actor(NAME, "trap", "");
        let server = start(&world, server, "0");
        server.address.knock().expect_reset_after("before\n");
    }
}

each_kind! { ALL: inetd_and_xinetd_pass_a_socket_of_datagrams }
fn inetd_and_xinetd_pass_a_socket_of_datagrams(kind: Kind) {
    for (server, idle) in [
        (Inetd::openbsd as Server, "0"),
        // When a host leaves, xinetd throws away what has come meanwhile.
        (Inetd::xinetd, "infinity"),
    ] {
        let world = World::new(kind);
        world.echo(NAME);
        let server = start(&world, server, idle);
        for number in 0..10 {
            let question = format!("question {number}");
            assert_eq!(server.datagrams().ask(&question), question.as_bytes());
        }
        server.address.ask("stream").expect_whole("stream");
    }
}

#[test]
fn tcpserver_keeps_the_log_apart() {
    let world = World::new(Kind::P1);
    world.actor(NAME, "version", "");
    let server = start(&world, Inetd::tcpserver, "0");
    let mut client = server.address.connect();
    client.answer().expect_whole("version 1\n");
    let line = format!("{NAME} 127.0.0.1:{}: served", client.local_port());
    harness::eventually(&line, || server.log().contains(&line));
}

each_kind! { ALL: s6_passes_unix_connections_that_know_who_calls }
fn s6_passes_unix_connections_that_know_who_calls(kind: Kind) {
    let world = World::new(kind);
    world.actor(NAME, "env", "");
    let server = start(&world, Inetd::s6, "0");
    for _ in 0..5 {
        let answer = server.address.knock();
        assert!(answer.text().starts_with(&unix_environment()), "{answer:?}");
        assert_eq!(answer.end, End::Closed);
    }
}
