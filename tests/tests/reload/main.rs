//! SIGHUP: a running host reads its configuration again.

mod handing_over;
mod http;
mod limits;

use std::fs;

use harness::{Destination, Host, Kind, World, each_kind};
use rustix::process::Signal;

/// Replaces `wasm-sock.toml`, as editors do: by another file of that name.
fn configure(world: &World, text: &str) {
    replace(world, "config/wasm-sock.toml", text);
}

fn replace(world: &World, file: &str, text: &str) {
    let (path, new) = (world.path(file), world.path("config/new"));
    fs::write(&new, text).expect("write a configuration");
    fs::rename(new, path).expect("rename");
}

/// A world with the actor's module, as `actor.cwasm`.
fn world(kind: Kind) -> World {
    let world = World::new(kind);
    world.install("actor", "actor");
    world
}

/// `[handler.NAME]` for an actor that plays `part`, and more lines of its table.
fn handler(name: &str, part: &str, settings: &str) -> String {
    let args: Vec<&str> = part.split(' ').collect();
    format!("[handler.{name}]\nmodule = \"actor.cwasm\"\nargs = {args:?}\n{settings}\n")
}

/// The guest tells its environment, in which there is this colour.
fn coloured(colour: &str) -> String {
    handler("it", "env", &format!("env = {{ COLOUR = {colour:?} }}"))
}

/// Starts a host, and waits until it has read its configuration.
#[track_caller]
fn start(world: &World, arguments: &[&str]) -> Host {
    let host = world.start(arguments);
    host.notifications.expect("READY=1");
    host
}

/// Has the host read its configuration again, and waits until it is done.
#[track_caller]
fn reload(host: &Host) {
    let before = host.notifications.count("READY=1");
    host.signal(Signal::HUP);
    harness::eventually("the host has read its configuration again", || {
        host.notifications.count("READY=1") > before
    });
}

each_kind! { BOTH: new_connections_get_the_new_settings_and_open_ones_keep_theirs }
fn new_connections_get_the_new_settings_and_open_ones_keep_theirs(kind: Kind) {
    let world = world(kind);
    configure(&world, &handler("it", "pingpong", "timeout = \"infinity\""));
    let address = world.tcp("it");
    let mut host = start(&world, &[]);
    let mut open = address.connect();
    let mut echoes = |word: &str| {
        open.send(format!("{word}\n"));
        assert_eq!(open.line(), word);
    };
    echoes("before");
    for colour in ["red", "green"] {
        configure(&world, &format!("{}\ntimeout = \"1ms\"", coloured(colour)));
        reload(&host);
        let line = host.log.expect("reload: applied: ");
        assert!(line.contains("new settings of it"), "{line}");
        configure(&world, &coloured(colour));
        reload(&host);
        let answer = address.knock().text();
        assert!(answer.contains(&format!("COLOUR={colour}\n")), "{answer}");
        echoes(colour);
    }
    open.finish();
    open.answer().expect_whole("");
    host.expect_leave();
}

#[test]
fn the_service_manager_is_told_when_a_reload_begins_and_when_it_is_over() {
    let world = world(Kind::P1);
    configure(&world, &coloured("red"));
    world.tcp("it");
    let host = start(&world, &[]);
    host.notifications.expect("READY=1");
    reload(&host);
    let told = host.notifications.lines();
    let told: Vec<&String> = told.iter().filter(|line| !line.starts_with("STATUS=")).collect();
    assert_eq!(told[1], "RELOADING=1", "{told:?}");
    let time = told[2].strip_prefix("MONOTONIC_USEC=").expect("a time");
    assert!(time.parse::<u64>().is_ok_and(|time| time > 0), "{told:?}");
    assert_eq!(told[3], "READY=1", "{told:?}");
}

#[test]
fn a_bad_configuration_changes_nothing_and_all_its_mistakes_are_logged() {
    let world = world(Kind::P1);
    configure(&world, &coloured("red"));
    let address = world.tcp("it");
    let mut host = start(&world, &[]);
    let both = format!("[defaults]\nmemroy = 1\n{}\ntimeuot = \"1s\"", coloured("green"));
    configure(&world, &both);
    reload(&host);
    host.log.expect("memroy");
    host.log.expect("timeuot");
    host.log.expect("reload: the settings stay what they were");
    assert!(address.knock().text().contains("COLOUR=red\n"));
    // In its own file.
    configure(&world, "");
    fs::create_dir_all(world.path("config/handlers.d")).unwrap();
    replace(&world, "config/handlers.d/it.toml", "[handler.it]\nargs = 5\n");
    reload(&host);
    host.log.expect("handlers.d/it.toml:2:8: args: ");
    assert_eq!(host.log.count("the settings stay"), 2);
    assert!(address.knock().text().contains("COLOUR=red\n"));
    replace(&world, "config/handlers.d/it.toml", &coloured("green"));
    reload(&host);
    assert!(address.knock().text().contains("COLOUR=green\n"));
    host.expect_leave();
}

#[test]
fn a_mistake_of_a_handler_that_is_not_the_hosts_does_not_keep_its_own_from_new_settings() {
    let world = world(Kind::P1);
    configure(&world, &coloured("red"));
    let address = world.tcp("it");
    let host = start(&world, &[]);
    fs::create_dir_all(world.path("config/handlers.d")).unwrap();
    replace(&world, "config/handlers.d/away.toml", "not even TOML");
    configure(&world, &format!("{}\n[handler.other]\nmemroy = 1\n", coloured("green")));
    reload(&host);
    assert!(address.knock().text().contains("COLOUR=green\n"));
    host.log.expect("memroy");
    assert_eq!(host.log.count("not valid TOML"), 0, "{}", host.log.text());
}

#[test]
fn a_table_that_is_added_and_one_that_is_removed_are_noticed() {
    let world = world(Kind::P1);
    world.install("it", "actor");
    let address = world.tcp("it");
    let mut host = start(&world, &[]);
    // Without a part, it says so in its log.
    address.knock();
    host.log.expect("argument 1 must be PART");
    configure(&world, "[handler.it]\nargs = [\"env\"]\n");
    reload(&host);
    assert!(address.knock().text().contains("WASM_SOCK_NAME=it\n"));
    fs::remove_file(world.path("config/wasm-sock.toml")).unwrap();
    reload(&host);
    assert_eq!(address.knock().text(), "");
    host.expect_leave();
}

#[test]
fn datagrams_get_the_new_settings() {
    let world = world(Kind::P1);
    configure(&world, &coloured("red"));
    let sockets: [Destination; 2] = [world.udp("it"), world.unix_datagrams("it")];
    let host = start(&world, &[]);
    let ask = |socket: &Destination| String::from_utf8_lossy(&socket.ask("?")).into_owned();
    assert!(sockets.iter().all(|socket| ask(socket).contains("COLOUR=red\n")));
    let larger = coloured("green") + "max-datagram = 100\n";
    configure(&world, &larger);
    reload(&host);
    for socket in &sockets {
        assert!(ask(socket).contains("COLOUR=green\n"));
        socket.connect().send("x".repeat(101));
    }
    host.log.expect("more than 100 bytes");
    configure(&world, &coloured("blue"));
    reload(&host);
    assert!(sockets.iter().all(|socket| {
        let answer = socket.ask("x".repeat(101));
        String::from_utf8_lossy(&answer).contains("COLOUR=blue\n")
    }));
}

#[test]
fn a_module_elsewhere_is_taken_from_there() {
    let world = world(Kind::P1);
    world.install("hello", "hello");
    world.install("echo", "echo");
    configure(&world, "[handler.it]\nmodule = \"hello.cwasm\"\n");
    let address = world.tcp("it");
    let host = start(&world, &[]);
    assert!(address.knock().text().starts_with("Hello"));
    configure(&world, "[handler.it]\nmodule = \"echo.cwasm\"\n");
    reload(&host);
    assert_eq!(address.ask("ping").text(), "ping");
}

#[test]
fn a_problem_that_lasts_is_logged_once_for_each_reload() {
    let world = world(Kind::P1);
    configure(&world, "[handler.it]\nmodule = \"missing.cwasm\"\n");
    let address = world.tcp("it");
    let host = start(&world, &[]);
    let reset = || address.knock().expect_reset_after("");
    for round in 1..=3 {
        reset();
        reset();
        assert_eq!(host.log.count("missing.cwasm"), round, "{}", host.log.text());
        reload(&host);
    }
}

#[test]
fn without_a_configuration_there_is_nothing_to_read() {
    let world = world(Kind::P1);
    let module = world.install("hello", "hello").display().to_string();
    let address = world.tcp("any");
    let mut host = start(&world, &["--module", &module]);
    reload(&host);
    host.log.expect("reload: there is no configuration to read");
    assert!(address.knock().text().starts_with("Hello"));
    host.expect_leave();
}

#[test]
fn signals_in_a_row_and_while_the_host_drains_do_no_harm() {
    let world = world(Kind::P1);
    configure(&world, &(coloured("red") + &handler("hold", "pingpong", "")));
    let (address, held) = (world.tcp("it"), world.tcp("hold"));
    let mut host = start(&world, &[]);
    let mut open = held.connect();
    open.send("a\n");
    assert_eq!(open.line(), "a");
    configure(&world, &(coloured("green") + &handler("hold", "pingpong", "")));
    for _ in 0..20 {
        host.signal(Signal::HUP);
    }
    reload(&host);
    assert!(address.knock().text().contains("COLOUR=green\n"));
    host.signal(Signal::TERM);
    host.notifications.expect("STOPPING=1");
    for _ in 0..3 {
        host.signal(Signal::HUP);
    }
    host.log.expect("SIGHUP: the host is ending");
    open.send("b\n");
    assert_eq!(open.line(), "b");
    open.finish();
    open.answer().expect_whole("");
    host.expect_exit(0);
}
