//! `--handler` and `--exit-with-guest`: one handler for whatever comes, and what its guest says at the end.

use std::os::fd::OwnedFd;

use harness::{Host, Kind, Launch, World, each_kind, run};

use super::{NAME, module, tcp};

/// The handler of these tests, which no socket is named after.
const HANDLER: &str = "other";

/// Starts a host with a connection, for this handler.
type Way = fn(&World, OwnedFd, &[&str]) -> Host;

/// As systemd passes a connection, and as inetd does.
const WAYS: [Way; 2] = [
    |world, connection, arguments| {
        world.pass(NAME, connection);
        world.hand_over(arguments)
    },
    |world, connection, arguments| Launch::inetd(world.launch(), connection).args(arguments).start(),
];

each_kind! { ALL: a_connection_is_answered_by_the_handler_that_the_command_line_names }
fn a_connection_is_answered_by_the_handler_that_the_command_line_names(kind: Kind) {
    for way in WAYS {
        let world = World::new(kind);
        world.actor(NAME, "trap", "");
        world.actor(HANDLER, "env", "env = { COLOUR = \"green\" }");
        let (mut client, accepted) = tcp(&world);
        let mut host = way(&world, accepted, &["--handler", HANDLER]);
        let answer = client.answer().text();
        assert!(answer.contains("COLOUR=green\n"), "{answer}");
        assert!(answer.contains("WASM_SOCK_NAME=other\n"), "{answer}");
        drop(client);
        host.expect_exit(0);
    }
}

#[test]
fn every_socket_is_answered_by_the_handler_that_the_command_line_names() {
    let world = World::new(Kind::P1);
    world.actor(HANDLER, "env", "");
    let addresses = [world.tcp("one"), world.unix("two"), world.tcp("no name/of any")];
    let host = world.start(&["--handler", HANDLER]);
    for address in addresses {
        let answer = address.knock().text();
        assert!(answer.contains("WASM_SOCK_NAME=other\n"), "{answer}");
    }
    host.notifications.expect("STATUS=1 handler, ");
}

/// The exit code of a host whose guest plays `part`.
fn exit_code(kind: Kind, way: Way, part: &str, settings: &str) -> Option<i32> {
    let world = World::new(kind);
    world.actor(HANDLER, part, settings);
    let (mut client, accepted) = tcp(&world);
    let arguments = ["--handler", HANDLER, "--exit-with-guest"];
    let mut host = way(&world, accepted, &arguments);
    client.answer();
    drop(client);
    host.exit_status().code()
}

#[test]
fn the_exit_code_is_the_guests_when_that_was_asked_for() {
    for way in WAYS {
        for code in [0, 1, 3, 77, 126, 200, 255] {
            assert_eq!(exit_code(Kind::P1, way, &format!("exit {code}"), ""), Some(code));
        }
        // `wasi:cli/exit` of 0.2 knows success and failure only.
        assert_eq!(exit_code(Kind::P2, way, "exit 0", ""), Some(0));
        assert_eq!(exit_code(Kind::P2, way, "exit 3", ""), Some(1));
        assert_eq!(exit_code(Kind::P3, way, "exit 3", ""), Some(3));
    }
}

each_kind! { ALL: a_trap_has_an_exit_code_of_its_own }
fn a_trap_has_an_exit_code_of_its_own(kind: Kind) {
    for way in WAYS {
        assert_eq!(exit_code(kind, way, "trap", ""), Some(134));
    }
}

each_kind! { BOTH: every_limit_has_the_exit_code_of_timeout }
fn every_limit_has_the_exit_code_of_timeout(kind: Kind) {
    for (part, limit) in [
        ("sleep", "timeout = \"50ms\""),
        ("sleep", "idle-connection-timeout = \"50ms\""),
        ("spin", "cpu-time = \"50ms\""),
        ("allocate-trap", "memory = \"8MiB\""),
        ("big 1000", "max-output = 100"),
    ] {
        assert_eq!(exit_code(kind, WAYS[0], part, limit), Some(124), "{part} with {limit}");
    }
}

#[test]
fn a_module_that_is_missing_has_the_exit_code_of_a_bad_configuration() {
    for way in WAYS {
        let world = World::new(Kind::P1);
        let (mut client, accepted) = tcp(&world);
        let mut host = way(&world, accepted, &["--handler", HANDLER, "--exit-with-guest"]);
        client.answer().expect_reset_after("");
        host.expect_exit(78);
    }
}

#[test]
fn the_exit_code_of_a_guest_cannot_be_that_of_a_host_that_accepts() {
    let world = World::new(Kind::P1);
    world.actor(HANDLER, "exit 3", "");
    world.tcp(HANDLER);
    let mut host = world.start(&["--exit-with-guest"]);
    host.expect_exit(2);
    host.log.expect("--exit-with-guest");
    host.log.expect("\"other\" is none");
}

#[test]
fn a_handler_and_a_module_exclude_each_other() {
    let world = World::new(Kind::P1);
    world.install("hello", "hello");
    let module = module(&world).display().to_string();
    let output = run(&["host", "--handler", HANDLER, "--module", &module]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("give one of them"), "{error}");
}
