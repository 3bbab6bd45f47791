//! HTTP: connections that outlast a reload, and instances that several requests share.

use harness::{Kind, World, each_kind};

use super::{configure, reload, start};

/// Two handlers, of which one is given this colour.
fn coloured(colour: &str) -> String {
    format!("[handler.web]\nenv = {{ COLOUR = {colour:?} }}\nreuse = 1000\n")
}

fn world(kind: Kind) -> World {
    let world = World::new(kind);
    world.install("web", "http-actor");
    world.install("other", "http-actor");
    configure(&world, &coloured("red"));
    world
}

each_kind! { HTTP: requests_that_come_on_new_connections_get_the_new_settings }
fn requests_that_come_on_new_connections_get_the_new_settings(kind: Kind) {
    let world = world(kind);
    let address = world.tcp("web");
    let host = start(&world, &[]);
    for colour in ["green", "blue"] {
        // Instances that may answer more, if they are shared.
        let mut open = address.http();
        open.get("/counter").expect_status(200);
        configure(&world, &coloured(colour));
        reload(&host);
        let env = address.get("/env").text();
        assert!(env.contains(&format!("COLOUR={colour}\n")), "{env}");
        address.get("/counter").expect(200, "1\n");
    }
}

each_kind! { HTTP: idle_connections_are_closed_and_busy_ones_after_their_answer }
fn idle_connections_are_closed_and_busy_ones_after_their_answer(kind: Kind) {
    let world = world(kind);
    let address = world.tcp("web");
    let mut host = start(&world, &[]);
    let mut idle = address.http();
    idle.get("/hello").expect(200, "hello\n");
    host.expect_in_flight(0);
    let mut busy = address.http();
    busy.ask("GET", "/sleep?1000");
    host.expect_in_flight(1);
    configure(&world, &coloured("green"));
    reload(&host);
    idle.expect_closed();
    let response = busy.response();
    response.expect(200, "slept 1000 ms\n");
    response.expect_last();
    busy.expect_closed();
    host.expect_leave();
}

each_kind! { HTTP: a_connection_of_http2_is_told_to_come_back_and_its_requests_are_answered }
fn a_connection_of_http2_is_told_to_come_back_and_its_requests_are_answered(kind: Kind) {
    let world = world(kind);
    let address = world.tcp("web");
    let mut host = start(&world, &[]);
    let mut idle = address.http2();
    idle.expect_hello();
    host.expect_in_flight(0);
    let mut busy = address.http2();
    let mut slow = busy.ask("/sleep?1000");
    host.expect_in_flight(1);
    configure(&world, &coloured("green"));
    reload(&host);
    idle.expect_end();
    assert_eq!(slow.answer(), (200, b"slept 1000 ms\n".to_vec()));
    busy.expect_end();
    host.expect_leave();
}

each_kind! { HTTP: connections_of_a_handler_whose_settings_stay_are_left_alone }
fn connections_of_a_handler_whose_settings_stay_are_left_alone(kind: Kind) {
    let world = world(kind);
    let addresses = ["web", "other"].map(|name| world.tcp(name));
    let mut host = start(&world, &[]);
    let [mut web, mut other] = addresses.map(|address| address.http());
    for http in [&mut web, &mut other] {
        http.get("/hello").expect(200, "hello\n");
    }
    configure(&world, &format!("# Another line.\n{}", coloured("green")));
    reload(&host);
    web.expect_closed();
    other.get("/hello").expect(200, "hello\n");
    // Nor when nothing but the place of a table has changed.
    configure(&world, &coloured("green"));
    reload(&host);
    host.log.expect("no handler has other settings than before");
    other.get("/hello").expect(200, "hello\n");
    host.expect_leave();
}
