//! A connection is the guest's standard input and output, whatever kind of socket it came through.

use std::time::{Duration, Instant};

use harness::{Kind, World, each_kind, median};

/// The variables that a guest of this answer saw, without its arguments.
fn variables(answer: &str) -> Vec<&str> {
    let lines = answer.lines();
    lines.filter(|line| !line.starts_with("arg: ")).collect()
}

fn tcp_environment(name: &str, ip: &str, local: u16, remote: u16) -> Vec<String> {
    vec![
        "PROTO=TCP".to_owned(),
        format!("REMOTE_ADDR={ip}"),
        format!("REMOTE_PORT={remote}"),
        format!("TCPLOCALIP={ip}"),
        format!("TCPLOCALPORT={local}"),
        format!("TCPREMOTEIP={ip}"),
        format!("TCPREMOTEPORT={remote}"),
        format!("WASM_SOCK_NAME={name}"),
    ]
}

each_kind! { BOTH: a_guest_behind_a_tcp_port_learns_who_calls_and_nothing_else }
fn a_guest_behind_a_tcp_port_learns_who_calls_and_nothing_else(kind: Kind) {
    let world = World::new(kind);
    world.actor("who", "env", "");
    for (address, ip) in [(world.tcp("who"), "127.0.0.1"), (world.tcp6("who"), "::1")] {
        let _host = world.start(&[]);
        let mut client = address.connect();
        let expected = tcp_environment("who", ip, address.port(), client.local_port());
        assert_eq!(variables(&client.answer().text()), expected);
    }
}

each_kind! { BOTH: an_ipv4_client_of_a_dual_stack_port_is_shown_as_ipv4 }
fn an_ipv4_client_of_a_dual_stack_port_is_shown_as_ipv4(kind: Kind) {
    let world = World::new(kind);
    world.actor("who", "env", "");
    let port = world.dual_stack("who");
    let _host = world.start(&[]);
    for ip in ["127.0.0.1", "::1"] {
        let address = harness::Address::Tcp((ip.parse::<std::net::IpAddr>().unwrap(), port).into());
        let mut client = address.connect();
        let expected = tcp_environment("who", ip, port, client.local_port());
        assert_eq!(variables(&client.answer().text()), expected);
    }
}

each_kind! { BOTH: a_guest_behind_a_unix_socket_learns_which_process_calls }
fn a_guest_behind_a_unix_socket_learns_which_process_calls(kind: Kind) {
    let world = World::new(kind);
    world.actor("who", "env", "");
    let address = world.unix("who");
    let _host = world.start(&[]);
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let expected = [
        "PROTO=UNIX".to_owned(),
        format!("UNIXREMOTEGID={}", gid.as_raw()),
        format!("UNIXREMOTEPID={}", std::process::id()),
        format!("UNIXREMOTEUID={}", uid.as_raw()),
        "WASM_SOCK_NAME=who".to_owned(),
    ];
    assert_eq!(variables(&address.knock().text()), expected);
}

each_kind! { BOTH: a_guest_gets_its_configured_arguments_and_variables_after_its_name }
fn a_guest_gets_its_configured_arguments_and_variables_after_its_name(kind: Kind) {
    let world = World::new(kind);
    world.install("actor", "actor");
    world.configure(
        "[handler.who]\nmodule = \"actor.cwasm\"\nargs = [\"env\", \"a b\"]\nenv = { GREETING = \"hi\" }\n",
    );
    let address = world.unix("who");
    let _host = world.start(&[]);
    let answer = address.knock().text();
    assert!(answer.contains("GREETING=hi\n"), "{answer}");
    assert!(answer.ends_with("arg: who\narg: env\narg: a b\n"), "{answer}");
}

each_kind! { BOTH: every_connection_gets_a_fresh_guest_with_its_own_randomness }
fn every_connection_gets_a_fresh_guest_with_its_own_randomness(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("dice", "random", "");
    let _host = world.start(&[]);
    let mut said: Vec<String> = (0..50).map(|_| address.knock().text()).collect();
    said.sort();
    said.dedup();
    assert_eq!(said.len(), 50, "guests share their randomness: {said:?}");
}

each_kind! { BOTH: a_client_that_sends_no_more_still_gets_its_answer }
fn a_client_that_sends_no_more_still_gets_its_answer(kind: Kind) {
    let world = World::new(kind);
    world.actor("count", "count", "");
    let addresses = [world.tcp("count"), world.tcp6("count"), world.unix("count")];
    let _host = world.start(&[]);
    for address in addresses {
        address.ask("").expect_whole("0 cbf29ce484222325\n");
        address.ask("x").expect_whole("1 af63f54c86021707\n");
    }
}

each_kind! { BOTH: a_guest_that_says_no_more_still_reads_what_comes }
fn a_guest_that_says_no_more_still_reads_what_comes(kind: Kind) {
    let world = World::new(kind);
    world.actor("half", "half", "");
    for address in [world.tcp("half"), world.unix("half")] {
        let host = world.start(&[]);
        let mut client = address.connect();
        assert_eq!(client.line(), "hello");
        client.send("more");
        client.finish();
        client.answer().expect_whole("");
        // FNV-1a of "more".
        host.log.expect("4 0d1be7a2c400c080");
    }
}

each_kind! { BOTH: echo_answers_at_once_and_does_not_wait_for_the_end }
fn echo_answers_at_once_and_does_not_wait_for_the_end(kind: Kind) {
    let world = World::new(kind);
    world.install("echo", "echo");
    let addresses = [world.tcp("echo"), world.unix("echo")];
    let _host = world.start(&[]);
    for address in addresses {
        let mut client = address.connect();
        for text in ["a", "second line", "ü"] {
            client.send(format!("{text}\n"));
            assert_eq!(client.line(), text);
        }
        client.finish();
        client.answer().expect_whole("");
    }
}

each_kind! { BOTH: small_answers_are_not_held_back_until_the_client_acknowledges }
fn small_answers_are_not_held_back_until_the_client_acknowledges(kind: Kind) {
    let world = World::alone(kind);
    let address = world.actor_port("pingpong", "pingpong", "");
    let _host = world.start(&[]);
    let mut client = address.connect();
    let round = |_| {
        let start = Instant::now();
        // Two answers, and no word of ours in between that would carry an acknowledgement.
        client.send("a\nb\n");
        assert_eq!((client.line(), client.line()), ("a".into(), "b".into()));
        start.elapsed()
    };
    let middle = median((0..100).map(round).collect());
    // Nagle's algorithm and the client's delayed acknowledgement make 40 ms.
    assert!(middle < Duration::from_millis(20), "a round takes {middle:?}");
}

each_kind! { BOTH: what_a_guest_tells_stderr_is_logged_with_handler_and_peer }
fn what_a_guest_tells_stderr_is_logged_with_handler_and_peer(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("noisy", "stderr", "");
    let host = world.start(&[]);
    let mut client = address.connect();
    let prefix = format!("noisy 127.0.0.1:{}: ", client.local_port());
    client.answer().expect_whole("ok\n");
    host.log.expect(&format!("{prefix}served"));
    assert!(host.log.expect("first line").ends_with(&format!("{prefix}first line")));
    assert!(
        host.log
            .expect("latin-1")
            .ends_with(&format!("{prefix}latin-1: caf\u{fffd}"))
    );
    assert!(
        host.log
            .expect("partial last")
            .starts_with(&format!("wasm-sock: {prefix}"))
    );
    let kept: usize = host.log.lines().iter().map(|l| l.matches('x').count()).sum();
    assert!(kept >= 100_000, "only {kept} bytes of a long line were kept");
}

#[test]
fn every_connection_leaves_one_line_with_its_outcome() {
    let world = World::new(Kind::P1);
    world.actor("count", "count", "");
    let (tcp, unix) = (world.tcp("count"), world.unix("count"));
    let host = world.start(&[]);
    unix.ask("12345");
    let line = host.log.expect("count uid ");
    assert!(
        line.contains(&format!("pid {}: served (", std::process::id())),
        "{line}"
    );
    assert!(line.contains("5 bytes in, 19 out"), "{line}");
    tcp.ask("12345");
    let line = host.log.expect("count 127.0.0.1:");
    assert!(line.contains("5 bytes in, 19 out"), "{line}");
}

each_kind! { BOTH: control_characters_of_a_guest_reach_no_terminal }
fn control_characters_of_a_guest_reach_no_terminal(kind: Kind) {
    let world = World::new(kind);
    // The actor tells stderr the part that it does not know.
    world.install("actor", "actor");
    world.configure("[handler.forger]\nmodule = \"actor.cwasm\"\nargs = [\"\\u001b[2J\\rwasm-sock: forged\"]\n");
    let address = world.tcp("forger");
    let host = world.start(&[]);
    address.knock();
    let line = host.log.expect("there is no part");
    host.log.expect("failed with exit code");
    assert!(!line.contains('\u{1b}') && !line.contains('\r'), "{line:?}");
}

each_kind! { BOTH: a_shared_host_serves_many_names_each_with_its_own_guest }
fn a_shared_host_serves_many_names_each_with_its_own_guest(kind: Kind) {
    let world = World::new(kind);
    world.install("hello", "hello");
    world.install("echo", "echo");
    let day = world.install("daytime", "daytime");
    assert!(day.exists());
    let (hello, echo, daytime) = (world.tcp("hello"), world.tcp("echo"), world.unix("daytime"));
    let host = world.start(&[]);
    assert!(hello.knock().text().contains("on hello over TCP"));
    echo.ask("ping").expect_whole("ping");
    assert!(daytime.knock().text().ends_with("-UTC\r\n"));
    host.expect_in_flight(0);
}
