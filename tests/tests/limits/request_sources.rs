//! `max-connections-per-source` counts requests, too: over HTTP a connection may have many.

use std::thread;
use std::time::Duration;

use harness::frames::{PREFACE, post, settings, stream};
use harness::{Client, Kind, Response, World, each_kind, eventually, web_host};

/// Not 127.0.0.1, which is the machine itself.
const FIRST: &str = "127.0.0.2";
const SECOND: &str = "127.0.0.3";

each_kind! { HTTP: a_source_does_not_take_all_places_of_requests_with_a_few_connections }
/// `max-connections-per-source` bounds the requests of a source, too.
fn a_source_does_not_take_all_places_of_requests_with_a_few_connections(kind: Kind) {
    let world = World::new(kind);
    // As it is without any configuration.
    let address = world.web_port("web", "");
    let host = world.start(&[]);
    let flood = || {
        let mut client = address.connect_from(FIRST);
        let posts = (0..100).flat_map(|n| post(stream(n), "/echo-late"));
        client.send([PREFACE, &settings(&[])].concat());
        client.send(posts.collect::<Vec<u8>>());
        client
    };
    let mut connections: Vec<Client> = (0..3).map(|_| flood()).collect();
    let ask = |source: &str| -> Response { address.http_from(source).get("/hello") };
    eventually("the source has all that it may have", || {
        thread::sleep(Duration::from_millis(100));
        let is_refused = [429, 503].contains(&ask(FIRST).status);
        // Else it had a place itself when the flood came, and left it to the next.
        if !is_refused {
            connections.push(flood());
        }
        is_refused
    });
    for _ in 0..5 {
        ask(SECOND).expect(200, "hello\n");
    }
    drop(connections);
    eventually("the source is answered again", || ask(FIRST).status == 200);
    host.expect_in_flight(0);
}

each_kind! { HTTP: a_client_that_closes_in_the_middle_of_its_answer_leaves_its_place_to_others }
/// hyper#1981: closing looks as if the client only had no more to say.
fn a_client_that_closes_in_the_middle_of_its_answer_leaves_its_place_to_others(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "max-connections = 2\ntimeout = \"infinity\"") {
        let host = world.start(&[]);
        for _ in 0..2 {
            let mut http = address.http();
            http.ask("GET", "/sleep?600000");
            host.expect_in_flight(1);
            drop(http);
            host.expect_in_flight(0);
        }
        // One that sends no more, and takes what comes, stays: this takes three seconds.
        let mut http = address.http();
        http.ask("GET", "/echo-begun?500");
        http.finish();
        http.response().expect(200, "before\n");
    }
}

each_kind! { HTTP: a_source_with_one_place_asks_one_thing_after_the_other }
/// What a guest does after its answer, and after HEAD, is no request of its client's any more.
fn a_source_with_one_place_asks_one_thing_after_the_other(kind: Kind) {
    let (_world, address, _host) = web_host(kind, "max-connections-per-source = 1");
    let mut http = address.http_from(FIRST);
    for _ in 0..20 {
        http.head("/endless?200").expect_status(200);
        http.get("/hello").expect(200, "hello\n");
    }
}
