//! Which requests share a guest: none over WASI 0.2, some over WASI 0.3, within bounds.

use std::thread;
use std::time::Duration;

use harness::{Address, End, Host, Http, Kind, World, each_kind, eventually, web_host};

const NO_LIMITS: &str = "cpu-time = \"infinity\"\ntimeout = \"infinity\"";

/// What `/counter` tells: how many requests its instance has answered.
fn count(http: &mut Http) -> u32 {
    let text = http.get("/counter").text();
    text.trim().parse().expect("a number")
}

#[test]
fn every_request_over_wasi_0_2_gets_a_fresh_instance() {
    let world = World::new(Kind::P2);
    for address in world.web_sockets("web", "reuse = 100") {
        let _host = world.start(&[]);
        let mut http = address.http();
        for _ in 0..50 {
            assert_eq!(count(&mut http), 1);
        }
    }
}

#[test]
fn an_instance_of_wasi_0_3_answers_so_many_requests_and_no_more() {
    for reuse in [1, 3, 128] {
        let world = World::new(Kind::P3);
        let address = world.web_port("web", &format!("reuse = {reuse}"));
        let _host = world.start(&[]);
        let mut connections: Vec<Http> = (0..4).map(|_| address.http()).collect();
        let counts: Vec<u32> = (0..400).map(|n| count(&mut connections[n % 4])).collect();
        let most = *counts.iter().max().unwrap();
        assert!(most <= reuse, "{most} of {reuse}");
        // It is not promised when an instance is used again, but it must happen.
        assert!(most > reuse / 2, "{most} of {reuse}");
    }
}

#[test]
fn no_instance_answers_for_two_handlers() {
    let world = World::new(Kind::P3);
    let addresses = ["one", "two"].map(|name| (name, world.web_port(name, "reuse = 1000")));
    let _host = world.start(&[]);
    for round in 1..=20 {
        for (name, address) in &addresses {
            assert!(count(&mut address.http()) <= round, "too many for {name}");
            let env = address.get("/env").text();
            assert_eq!(env, format!("WASM_SOCK_NAME={name}\n"));
        }
    }
}

/// Does a request that traps take one with it that only waits? Then one instance had both.
fn shares(host: &Host, address: &Address) -> bool {
    let mut waiting = address.http();
    waiting.ask("GET", "/sleep?1000");
    host.expect_in_flight(1);
    address.get("/trap").expect_status(500);
    let status = waiting.response().status;
    assert!([200, 500].contains(&status), "{status}");
    status == 500
}

#[test]
fn an_instance_of_wasi_0_3_answers_several_requests_at_a_time_if_it_may() {
    let world = World::new(Kind::P3);
    let [two, one, none] = [
        ("two", "concurrency = 2"),
        ("one", "concurrency = 1"),
        ("none", "reuse = 1\nconcurrency = 16"),
    ]
    .map(|(name, settings)| world.web_port(name, settings));
    let host = world.start(&[]);
    eventually("two requests share an instance", || shares(&host, &two));
    for address in [one, none] {
        for _ in 0..4 {
            assert!(!shares(&host, &address), "two requests shared an instance");
        }
    }
}

#[test]
fn a_guest_that_traps_takes_nobody_with_it_but_those_who_share_it() {
    for (kind, reuse) in [(Kind::P2, 1), (Kind::P3, 1), (Kind::P3, 128)] {
        let world = World::new(kind);
        let settings = format!("reuse = {reuse}");
        let (address, neighbour) = (world.web_port("web", &settings), world.web_port("neighbour", &settings));
        let host = world.start(&[]);
        for _ in 0..5 {
            let (mut near, mut far) = (address.http(), neighbour.http());
            near.ask("GET", "/sleep?1000");
            far.ask("GET", "/sleep?1000");
            host.expect_in_flight(2);
            address.get("/trap").expect_status(500);
            far.response().expect(200, "slept 1000 ms\n");
            let response = near.response();
            // One that shares it may have begun its answer.
            if reuse == 1 || response.status == 200 && response.cut.is_none() {
                response.expect(200, "slept 1000 ms\n");
            } else if response.cut.is_none() {
                response.expect_status(500);
            } else {
                assert_eq!(response.cut, Some(End::Reset));
            }
            address.get("/hello").expect(200, "hello\n");
        }
        host.expect_in_flight(0);
    }
}

each_kind! { HTTP: requests_that_wait_do_not_wait_for_each_other }
fn requests_that_wait_do_not_wait_for_each_other(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let host = world.start(&[]);
        let mut waiting: Vec<Http> = (0..50).map(|_| address.http()).collect();
        for http in &mut waiting {
            http.ask("GET", "/sleep?2000");
        }
        // All at the same time, and there is time for others.
        host.expect_in_flight(50);
        address.get("/hello").expect(200, "hello\n");
        for http in &mut waiting {
            http.response().expect(200, "slept 2000 ms\n");
        }
        host.expect_in_flight(0);
    }
}

each_kind! { HTTP: nobody_waits_for_a_guest_that_computes }
fn nobody_waits_for_a_guest_that_computes(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", NO_LIMITS);
    let neighbour = world.web_port("neighbour", NO_LIMITS);
    let host = world.start(&[]);
    let mut spinning: Vec<Http> = (0..4).map(|_| address.http()).collect();
    for http in &mut spinning {
        http.ask("GET", "/spin");
    }
    host.expect_in_flight(4);
    for _ in 0..50 {
        address.get("/hello").expect(200, "hello\n");
        neighbour.get("/hello").expect(200, "hello\n");
    }
    for http in &spinning {
        assert!(!http.hears_anything_within(Duration::ZERO));
    }
    for http in spinning {
        http.second().vanish();
    }
    host.expect_in_flight(0);
    eventually("no guest computes any more", || {
        let before = host.cpu_time();
        thread::sleep(Duration::from_millis(300));
        host.cpu_time() == before
    });
}

each_kind! { HTTP: a_guest_that_computes_too_long_ends_while_its_neighbours_answer }
fn a_guest_that_computes_too_long_ends_while_its_neighbours_answer(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "cpu-time = \"1s\"");
    let neighbour = world.web_port("neighbour", "");
    let host = world.start(&[]);
    let mut spinning = address.http();
    spinning.ask("GET", "/spin");
    host.expect_in_flight(1);
    let mut answers = 0;
    while !spinning.hears_anything_within(Duration::ZERO) {
        neighbour.get("/hello").expect(200, "hello\n");
        address.get("/hello").expect(200, "hello\n");
        answers += 1;
    }
    spinning.response().expect_status(500);
    assert!(answers >= 10, "only {answers} answers meanwhile");
    host.log.expect("raise `cpu-time`");
    host.expect_in_flight(0);
}

#[test]
fn an_instance_is_let_go_when_nobody_asks() {
    let (_world, address, _host) = web_host(Kind::P3, "reuse = 1000");
    let mut http = address.http();
    eventually("an instance is used again", || count(&mut http) > 1);
    eventually("a fresh instance answers", || {
        thread::sleep(Duration::from_millis(1500));
        count(&mut http) == 1
    });
}

#[test]
fn a_request_that_takes_too_long_ends_its_instance_but_not_the_other_requests_in_it() {
    let (_world, address, host) = web_host(Kind::P3, "timeout = \"1s\"");
    for _ in 0..3 {
        let mut slow = address.http();
        slow.ask("GET", "/sleep?600000");
        host.expect_in_flight(1);
        // These begin later, and so end in time.
        let mut others: Vec<Http> = (0..5).map(|_| address.http()).collect();
        for http in &mut others {
            http.ask("GET", "/sleep?500");
        }
        for http in &mut others {
            http.response().expect(200, "slept 500 ms\n");
        }
        let mut late = address.http();
        late.ask("GET", "/sleep?700");
        slow.response().expect_status(504);
        late.response().expect(200, "slept 700 ms\n");
        address.get("/hello").expect(200, "hello\n");
    }
    host.expect_in_flight(0);
}

#[test]
fn a_module_that_is_replaced_is_not_answered_for_by_instances_of_the_old_one() {
    let world = World::new(Kind::P3);
    let address = world.web_port("web", "reuse = 1000");
    let host = world.start(&[]);
    let mut http = address.http();
    eventually("an instance is used again", || count(&mut http) > 1);
    // What an old instance is about goes on.
    let mut old = address.http();
    old.ask("GET", "/sleep?1500");
    host.expect_in_flight(1);
    let mut second = std::fs::read(harness::wasm(Kind::P3, "http-actor")).expect("read a guest");
    second.extend(b"\0\x02\x01x"); // A custom section of no meaning.
    world.compile(&second, "web");
    assert_eq!(count(&mut http), 1);
    old.response().expect(200, "slept 1500 ms\n");
    host.expect_in_flight(0);
}
