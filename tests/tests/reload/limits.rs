//! The limits of all connections together, and the settings of the host.

use std::time::Duration;

use harness::{Client, Kind, eventually};

use super::{coloured, configure, handler, reload, start, world};

const QUIET: Duration = Duration::from_millis(100);

/// Is it served?
fn echoes(client: &mut Client) {
    client.send("x\n");
    assert_eq!(client.line(), "x");
}

/// A client that has said something, and waits for a slot.
fn waiting(address: &harness::Address) -> Client {
    let mut client = address.connect();
    client.send("x\n");
    assert!(!client.hears_anything_within(QUIET), "it has a slot");
    client
}

/// For the limit of a handler, and of the host.
const WHERE: [fn(u32) -> String; 2] = [
    |most| handler("it", "pingpong", &format!("max-connections = {most}")),
    |most| format!("[host]\nmax-connections = {most}\n{}", handler("it", "pingpong", "")),
];

#[test]
fn a_client_that_waits_for_a_slot_gets_one_that_is_added() {
    for limited in WHERE {
        let world = world(Kind::P1);
        configure(&world, &limited(1));
        let address = world.tcp("it");
        let host = start(&world, &[]);
        let mut first = address.connect();
        echoes(&mut first);
        let mut second = waiting(&address);
        configure(&world, &limited(2));
        reload(&host);
        assert_eq!(second.line(), "x");
        echoes(&mut first);
        let _third = waiting(&address);
    }
}

#[test]
fn with_fewer_slots_than_connections_all_of_them_go_on_and_new_clients_wait() {
    for limited in WHERE {
        let world = world(Kind::P1);
        configure(&world, &limited(4));
        let address = world.tcp("it");
        let mut host = start(&world, &[]);
        let mut open: Vec<Client> = (0..4).map(|_| address.connect()).collect();
        open.iter_mut().for_each(echoes);
        configure(&world, &limited(2));
        reload(&host);
        let mut next = waiting(&address);
        open.iter_mut().for_each(echoes);
        for left in [3, 2] {
            drop(open.pop());
            host.expect_in_flight(left);
            assert!(!next.hears_anything_within(QUIET), "there are {left} connections of 2");
        }
        drop(open.pop());
        assert_eq!(next.line(), "x");
        let _another = waiting(&address);
        open.iter_mut().for_each(echoes);
        drop((open, next));
        host.expect_leave();
    }
}

#[test]
fn the_idle_timeout_and_the_drain_timeout_are_those_of_the_last_reload() {
    let world = world(Kind::P1);
    let timeouts = |idle: &str, drain: &str| {
        let held = handler("it", "pingpong", "");
        format!("[host]\nidle-timeout = {idle:?}\ndrain-timeout = {drain:?}\n{held}")
    };
    configure(&world, &timeouts("infinity", "1h"));
    let address = world.tcp("it");
    let mut host = start(&world, &[]);
    configure(&world, &timeouts("50ms", "1h"));
    reload(&host);
    host.expect_exit(0);
    configure(&world, &timeouts("infinity", "1h"));
    let mut host = start(&world, &[]);
    let mut open = address.connect();
    echoes(&mut open);
    configure(&world, &timeouts("infinity", "0"));
    reload(&host);
    host.signal(rustix::process::Signal::TERM);
    host.expect_exit(0);
    open.answer().expect_reset_after("");
}

#[test]
fn the_command_line_still_overrides_the_idle_timeout() {
    let world = world(Kind::P1);
    configure(&world, &coloured("red"));
    let address = world.tcp("it");
    let host = start(&world, &["--idle-timeout", "infinity"]);
    configure(
        &world,
        &format!("[host]\nidle-timeout = \"1ms\"\n{}", coloured("green")),
    );
    reload(&host);
    eventually("the new settings are there", || {
        address.knock().text().contains("COLOUR=green\n")
    });
    assert!(!host.ends_within(QUIET * 3));
}
