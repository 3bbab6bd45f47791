//! Connections between requests: what keeps the host, what it closes, and how.

use std::thread;
use std::time::{Duration, Instant};

use harness::{Address, Answer, End, Http, Kind, World, each_kind, eventually, web_host};
use rustix::process::Signal;

/// A connection whose first request was answered.
fn idle(address: &Address) -> Http {
    let mut http = address.http();
    http.get("/hello").expect(200, "hello\n");
    http
}

/// Connections whose requests take two seconds.
fn busy(address: &Address, count: usize) -> Vec<Http> {
    let mut connections: Vec<Http> = (0..count).map(|_| address.http()).collect();
    for http in &mut connections {
        http.ask("GET", "/sleep?2000");
    }
    connections
}

fn expect_slept(connections: &mut [Http]) {
    for http in connections {
        http.response().expect(200, "slept 2000 ms\n");
    }
}

each_kind! { HTTP: a_request_is_in_flight_and_an_idle_connection_is_not }
fn a_request_is_in_flight_and_an_idle_connection_is_not(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let host = world.start(&[]);
        let mut http = idle(&address);
        host.expect_in_flight(0);
        http.ask("GET", "/sleep?2000");
        host.expect_in_flight(1);
        http.response().expect(200, "slept 2000 ms\n");
        host.expect_in_flight(0);
        // It may be about to ask: it counts until it did, or has taken too long.
        let silent = address.http();
        host.expect_in_flight(1);
        drop(silent);
        host.expect_in_flight(0);
        http.get("/hello").expect(200, "hello\n");
    }
}

each_kind! { HTTP: an_idle_connection_does_not_keep_the_host_and_is_closed_in_good_order }
fn an_idle_connection_does_not_keep_the_host_and_is_closed_in_good_order(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "keep-alive = \"infinity\"") {
        let mut host = world.start(&["--idle-timeout", "500ms"]);
        let mut connections: Vec<Http> = (0..10).map(|_| idle(&address)).collect();
        for http in &mut connections {
            http.expect_closed();
        }
        host.expect_exit(0);
    }
}

each_kind! { HTTP: a_request_in_flight_keeps_the_host }
fn a_request_in_flight_keeps_the_host(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let mut http = address.http();
        http.ask("GET", "/sleep?2000");
        let mut host = world.start(&["--idle-timeout", "0"]);
        http.response().expect(200, "slept 2000 ms\n");
        http.expect_closed();
        host.expect_exit(0);
    }
}

each_kind! { HTTP: a_host_that_is_told_to_stop_finishes_its_requests_and_closes_the_rest }
fn a_host_that_is_told_to_stop_finishes_its_requests_and_closes_the_rest(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let mut host = world.start(&[]);
        let mut idle = idle(&address);
        let mut busy = busy(&address, 3);
        let mut streaming = address.http();
        streaming.begin("/echo", None);
        streaming.send_chunk("first");
        streaming.next_head().expect("a head");
        host.expect_in_flight(4);
        host.signal(Signal::TERM);
        idle.expect_closed();
        for http in &mut busy {
            let response = http.response();
            response.expect(200, "slept 2000 ms\n");
            response.expect_last();
            http.expect_closed();
        }
        // This one's head was sent before.
        assert_eq!(streaming.chunk(), Ok(b"first".to_vec()));
        for text in ["second", "third"] {
            streaming.send_chunk(text);
            assert_eq!(streaming.chunk(), Ok(text.as_bytes().to_vec()));
        }
        streaming.send_chunk("");
        streaming.rest().expect_whole("0\r\n\r\n");
        host.expect_exit(0);
    }
}

each_kind! { HTTP: requests_that_wait_behind_another_when_the_host_is_told_to_stop_are_not_half_answered }
fn requests_that_wait_behind_another_when_the_host_is_told_to_stop_are_not_half_answered(kind: Kind) {
    let (_world, address, mut host) = web_host(kind, "");
    let mut http = address.http();
    http.ask("GET", "/sleep?2000");
    http.ask("GET", "/hello");
    host.expect_in_flight(1);
    host.signal(Signal::TERM);
    let response = http.response();
    response.expect(200, "slept 2000 ms\n");
    response.expect_last();
    http.expect_closed();
    host.expect_exit(0);
}

each_kind! { HTTP: a_request_that_outlasts_the_drain_is_reset }
fn a_request_that_outlasts_the_drain_is_reset(kind: Kind) {
    let world = World::new(kind);
    world.configure("[host]\ndrain-timeout = \"300ms\"\n");
    let address = world.web_port("web", "");
    let mut host = world.start(&[]);
    let mut http = address.http();
    http.ask("GET", "/sleep?600000");
    host.expect_in_flight(1);
    host.signal(Signal::TERM);
    http.rest().expect_reset_after("");
    host.expect_exit(0);
    host.log.expect("still in flight");
}

#[test]
fn requests_that_compute_beyond_the_drain_are_reset_in_good_order() {
    let computing = [(Kind::P2, "/spin"), (Kind::P3, "/spin"), (Kind::P3, "/spin-yield")];
    for (kind, path) in computing {
        for _ in 0..10 {
            let world = World::new(kind);
            world.configure("[host]\ndrain-timeout = 0\n");
            let address = world.web_port("web", "timeout = \"1h\"");
            let mut host = world.start(&[]);
            let mut http = address.http();
            http.ask("GET", path);
            host.expect_in_flight(1);
            // Among those that compute, by then.
            assert!(!http.hears_anything_within(Duration::from_millis(50)));
            host.expect_leave();
            http.rest().expect_reset_after("");
        }
    }
}

each_kind! { HTTP: a_connection_that_says_nothing_does_not_hold_the_host_up_for_long }
fn a_connection_that_says_nothing_does_not_hold_the_host_up_for_long(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "head-timeout = \"infinity\"");
    world.configure("[host]\ndrain-timeout = \"1h\"\n");
    let mut host = world.start(&[]);
    let mut silent = address.http();
    let mut slow = address.http();
    slow.send("GET /hello HTTP/1.1\r\n");
    host.expect_in_flight(2);
    host.signal(Signal::TERM);
    host.notifications.expect("STOPPING=1");
    // What is sent in time is answered.
    slow.send("Host: test\r\n\r\n");
    let response = slow.response();
    response.expect(200, "hello\n");
    response.expect_last();
    host.expect_exit(0);
    assert_ne!(silent.rest().end, End::TimedOut);
}

each_kind! { HTTP: connections_that_are_idle_for_too_long_are_closed }
fn connections_that_are_idle_for_too_long_are_closed(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "keep-alive = \"300ms\"") {
        let host = world.start(&[]);
        let mut http = idle(&address);
        http.expect_closed();
        // A request is not idleness.
        let mut http = address.http();
        http.get("/sleep?1000").expect(200, "slept 1000 ms\n");
        http.expect_closed();
        host.expect_in_flight(0);
    }
}

each_kind! { HTTP: without_keep_alive_every_answer_is_the_last }
fn without_keep_alive_every_answer_is_the_last(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "keep-alive = 0") {
        let _host = world.start(&[]);
        for target in ["/hello", "/trap", "/sized?1000"] {
            let mut http = address.http();
            http.get(target).expect_last();
            http.expect_closed();
        }
    }
}

each_kind! { HTTP: an_idle_connection_gives_way_to_one_that_waits }
fn an_idle_connection_gives_way_to_one_that_waits(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "max-connections = 3\nkeep-alive = \"infinity\"") {
        let _host = world.start(&[]);
        let mut before: Vec<Http> = (0..3).map(|_| idle(&address)).collect();
        for _ in 0..3 {
            let http = idle(&address);
            before.push(http);
        }
        for http in &mut before[..3] {
            http.expect_closed();
        }
    }
}

each_kind! { HTTP: idle_connections_stay_while_nobody_waits }
fn idle_connections_stay_while_nobody_waits(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "max-connections = 3") {
        let _host = world.start(&[]);
        let mut all: Vec<Http> = (0..3).map(|_| idle(&address)).collect();
        for http in &mut all {
            http.get("/hello").expect(200, "hello\n");
        }
    }
}

each_kind! { HTTP: a_connection_gives_way_to_one_that_waits_when_it_becomes_idle }
fn a_connection_gives_way_to_one_that_waits_when_it_becomes_idle(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "max-connections = 2\nkeep-alive = \"infinity\"") {
        let host = world.start(&[]);
        let mut busy = busy(&address, 2);
        host.expect_in_flight(2);
        let mut third = address.http();
        third.ask("GET", "/hello");
        expect_slept(&mut busy);
        third.response().expect(200, "hello\n");
    }
}

each_kind! { HTTP: requests_are_never_lost_while_hosts_come_and_go }
fn requests_are_never_lost_while_hosts_come_and_go(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "");
    let supervisor = world.launch().args(&["--idle-timeout", "5ms"]).supervise();
    let until = Instant::now() + Duration::from_secs(6);
    thread::scope(|scope| {
        for client in 0..4 {
            let address = &address;
            scope.spawn(move || {
                let mut http = address.http();
                let mut requests = 0u32;
                while Instant::now() < until {
                    requests += 1;
                    // Now and then the host has time to leave.
                    if requests.is_multiple_of(10) {
                        thread::sleep(Duration::from_millis(5 + client));
                    }
                    answered(address, &mut http);
                }
            });
        }
        scope.spawn(|| {
            while Instant::now() < until {
                thread::sleep(Duration::from_millis(40));
                supervisor.terminate();
            }
        });
    });
    assert_eq!(supervisor.failures(), Vec::<String>::new());
    assert!(supervisor.hosts() > 20, "{} hosts", supervisor.hosts());
}

/// Asks until there is an answer, as every client of HTTP/1.1 has to: a connection may be closed
/// while a request is on its way (RFC 9112, 9.3.1). But no answer is ever half.
fn answered(address: &Address, http: &mut Http) {
    use std::io::Write;
    for attempt in 0.. {
        assert!(attempt < 5, "it is closed again and again");
        let request = b"GET /hello HTTP/1.1\r\nHost: test\r\n\r\n";
        let result = match http.write_all(request) {
            Ok(()) => http.try_response(),
            Err(_) => Err(http.rest()),
        };
        match result {
            Ok(response) => {
                response.expect(200, "hello\n");
                if response.header("connection") == Some("close") {
                    *http = address.http();
                }
                return;
            }
            Err(Answer { bytes, end }) => {
                assert_eq!((bytes.len(), end == End::TimedOut), (0, false), "{end:?}");
                *http = address.http();
            }
        }
    }
}

each_kind! { HTTP: a_guest_may_go_on_after_its_answer }
fn a_guest_may_go_on_after_its_answer(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "");
    let mut http = address.http();
    http.ask("GET", "/linger?2000");
    let mut host = world.start(&["--idle-timeout", "0"]);
    let start = Instant::now();
    http.response().expect(200, "answered\n");
    assert!(start.elapsed() < Duration::from_secs(2), "it came at the end");
    // Its client may go.
    drop(http);
    host.log.expect("lingered 2000 ms");
    host.expect_exit(0);
}

each_kind! { HTTP: a_guest_that_goes_on_is_not_in_the_way_of_the_next_request }
fn a_guest_that_goes_on_is_not_in_the_way_of_the_next_request(kind: Kind) {
    let (_world, address, host) = web_host(kind, "");
    let mut http = address.http();
    http.get("/linger?1000").expect(200, "answered\n");
    for _ in 0..10 {
        http.get("/hello").expect(200, "hello\n");
    }
    assert_eq!(host.log.count("lingered"), 0);
    host.log.expect("lingered 1000 ms");
    host.expect_in_flight(0);
}

each_kind! { HTTP: a_guest_that_goes_on_for_too_long_is_ended }
fn a_guest_that_goes_on_for_too_long_is_ended(kind: Kind) {
    let (_world, address, host) = web_host(kind, "timeout = \"500ms\"");
    address.get("/linger?5000").expect(200, "answered\n");
    host.expect_in_flight(0);
    address.get("/sleep?100").expect(200, "slept 100 ms\n");
    eventually("no guest works any more", || {
        let before = host.cpu_time();
        thread::sleep(Duration::from_millis(300));
        host.cpu_time() == before
    });
    thread::sleep(Duration::from_secs(5));
    assert_eq!(host.log.count("lingered"), 0, "{}", host.log.text());
}

each_kind! { HTTP: no_408_waits_for_the_next_request_on_a_silent_connection }
/// A client takes what comes first for the answer to the request that it sends next.
fn no_408_waits_for_the_next_request_on_a_silent_connection(kind: Kind) {
    let settings = "head-timeout = \"1s\"\nkeep-alive = \"1s\"";
    let world = World::new(kind);
    for address in world.web_sockets("web", settings) {
        let host = world.start(&[]);
        let connect = |(said, is_first): &(&str, bool)| {
            let mut http = address.http();
            if !is_first {
                http.get("/hello").expect(200, "hello\n");
            }
            http.send(said);
            http
        };
        let both = |said: &[&'static str]| {
            let all = said.iter().flat_map(|said| [(*said, true), (*said, false)]);
            all.collect::<Vec<(&str, bool)>>()
        };
        let silent = both(&["", "\r\n", "\n", "\r\n\r\n\r\n"]);
        let begun = both(&["G", "\r\nG", "GET /hello HTTP/1.1\r\nHost: a\r\n"]);
        // All of them wait at the same time.
        let silent_clients: Vec<Http> = silent.iter().map(connect).collect();
        let begun_clients: Vec<Http> = begun.iter().map(connect).collect();
        for (which, mut http) in silent.iter().zip(silent_clients) {
            let rest = http.rest();
            assert_eq!((rest.text(), rest.end), (String::new(), End::Closed), "{which:?}");
        }
        for (which, mut http) in begun.iter().zip(begun_clients) {
            eprintln!("{which:?}");
            let response = http.response();
            response.expect(408, "408 Request Timeout\n");
            response.expect_last();
        }
        host.expect_in_flight(0);
    }
}
