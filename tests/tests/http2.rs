//! HTTP/2 with prior knowledge: many requests at a time on one connection, each on its own.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use harness::frames::{DATA, END_STREAM, Frames, PING, SETTINGS, frame, get, post, reset};
use harness::{Address, End, Exchange, Host, Kind, World, each_kind, eventually, web_host};
use rustix::process::Signal;

const MIB: u64 = 1024 * 1024;

/// What the guest's `/big` and `/sized` answer, and what it is sent.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8).collect()
}

/// A host with one handler behind both kinds of sockets, for as long as `client` takes with each.
#[track_caller]
fn over_both_sockets(kind: Kind, settings: &str, client: impl Fn(&Address, &Host)) {
    let world = World::new(kind);
    for address in world.web_sockets("web", settings) {
        let host = world.start(&[]);
        client(&address, &host);
        host.expect_in_flight(0);
    }
}

/// A connection frame by frame whose first request was answered.
fn idle(address: &Address) -> Frames {
    let mut connection = address.frames(&[]);
    connection.send(get(1, "/hello"));
    assert_eq!(connection.answer(1), Ok((200, b"hello\n".to_vec())));
    connection
}

each_kind! { HTTP: a_request_is_seen_as_over_http_1 }
fn a_request_is_seen_as_over_http_1(kind: Kind) {
    let (_world, address, _host) = web_host(kind, "");
    let mut client = address.http2();
    let headers = [("x-two", "1"), ("cookie", "a=b"), ("x-two", "2")];
    let mut request = client.request("GET", "/head?x", &headers, true);
    let (status, body) = request.answer();
    assert_eq!(status, 200);
    assert_eq!(
        String::from_utf8_lossy(&body),
        ":method: GET\n\
         :path: /head?x\n\
         :scheme: http\n\
         :authority: test\n\
         cookie: a=b\n\
         x-forwarded-for: 127.0.0.1\n\
         x-forwarded-host: test\n\
         x-forwarded-proto: http\n\
         x-two: 1\n\
         x-two: 2\n"
    );
    assert!(request.header("date").is_some_and(|date| date.ends_with(" GMT")));
    for name in ["server", "connection", "transfer-encoding", "keep-alive"] {
        assert_eq!(request.header(name), None);
    }
    // The same port, and the same connection as before, for HTTP/1.1.
    address.get("/hello").expect(200, "hello\n");
    let mut http = address.http();
    http.send(
        "GET /hello HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\n\
         Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
    );
    http.response().expect(200, "hello\n");
}

each_kind! { HTTP: methods_statuses_and_bodies_are_as_over_http_1 }
fn methods_statuses_and_bodies_are_as_over_http_1(kind: Kind) {
    over_both_sockets(kind, "", |address, _| {
        let mut client = address.http2();
        assert_eq!(client.get("/status?404"), (404, vec![]));
        assert_eq!(client.get("/status?204"), (204, vec![]));
        for (target, length) in [("/big?300000", None), ("/sized?300000", Some("300000"))] {
            assert!(client.get(target) == (200, pattern(300_000)), "{target}");
            let mut head = client.request("HEAD", target, &[], true);
            assert_eq!(head.answer(), (200, vec![]));
            assert_eq!(head.header("content-length").as_deref(), length);
        }
        for method in ["PUT", "DELETE", "BREW"] {
            let (_, seen) = client.request(method, "/head", &[], true).answer();
            assert!(seen.starts_with(format!(":method: {method}").as_bytes()), "{method}");
        }
        for size in [0, 1, 1_000_000] {
            for target in ["/echo", "/splice"] {
                let mut request = client.post(target);
                request.send(pattern(size));
                request.finish();
                assert!(request.answer() == (200, pattern(size)), "{target}, {size} bytes");
            }
        }
        client.expect_hello();
        // A client that sends the whole body, though the answer may be there before.
        let mut connection = address.frames(&[]);
        connection.send([post(1, "/ignore-body"), frame(DATA, END_STREAM, 1, "short")].concat());
        assert_eq!(connection.answer(1), Ok((200, b"ignored\n".to_vec())));
    });
}

each_kind! { HTTP: a_body_is_handed_on_as_it_comes }
fn a_body_is_handed_on_as_it_comes(kind: Kind) {
    over_both_sockets(kind, "", |address, _| {
        let mut client = address.http2();
        for target in ["/echo", "/splice"] {
            let mut request = client.post(target);
            let mut sent = String::new();
            for text in ["first", "second", "third"] {
                request.send(text);
                sent += text;
                request.expect_body(&sent);
            }
            request.finish();
            assert_eq!(request.answer(), (200, sent.into_bytes()));
        }
    });
}

each_kind! { HTTP: trailers_pass_both_ways }
fn trailers_pass_both_ways(kind: Kind) {
    over_both_sockets(kind, "", |address, _| {
        let mut client = address.http2();
        let mut request = client.request("POST", "/trailers", &[("te", "trailers")], false);
        request.send("more");
        request.finish_with(&[("x-b", "2"), ("x-a", "1")]);
        assert_eq!(request.answer(), (200, b"x-a: 1\nx-b: 2\n".to_vec()));
        let trailers = request.trailers();
        let all: Vec<_> = trailers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        assert_eq!(all, [("x-sum", &b"4 0d1be7a2c400c080"[..])]);
    });
}

each_kind! { HTTP: requests_of_one_connection_do_not_wait_for_each_other }
fn requests_of_one_connection_do_not_wait_for_each_other(kind: Kind) {
    let (_world, address, host) = web_host(kind, "");
    let mut client = address.http2();
    let mut slow: Vec<Exchange> = (0..20).map(|_| client.ask("/sleep?2000")).collect();
    client.expect_hello();
    assert!(!slow.iter_mut().any(Exchange::is_answered));
    host.expect_in_flight(20);
    for request in &mut slow {
        assert_eq!(request.answer(), (200, b"slept 2000 ms\n".to_vec()));
    }
    drop((slow, client));
    host.expect_in_flight(0);
}

each_kind! { HTTP: what_goes_wrong_with_one_request_does_not_touch_the_others }
fn what_goes_wrong_with_one_request_does_not_touch_the_others(kind: Kind) {
    // An instance of WASI 0.3 that traps would take its other requests with it.
    let settings = "timeout = \"2s\"\nmax-body = 1000\nreuse = 1";
    over_both_sockets(kind, settings, |address, _| {
        let mut client = address.http2();
        let mut slow = client.ask("/sleep?1000");
        let mut late = client.post("/trap-late");
        late.expect_body("before\n");
        late.finish();
        assert_eq!(late.error(), h2::Reason::INTERNAL_ERROR);
        for (target, status) in [("/error", 500), ("/sleep?600000", 504)] {
            assert_eq!(client.get(target).0, status);
        }
        let mut large = client.post("/echo-late");
        large.send([0; 1001]);
        assert_eq!(large.status(), 413);
        let mut announced = client.request("POST", "/echo-late", &[("content-length", "1001")], false);
        assert_eq!(announced.status(), 413);
        let mut unfinished = client.post("/echo-late");
        unfinished.send("some");
        assert_eq!(unfinished.status(), 408);
        assert_eq!(slow.answer().0, 200);
        client.expect_hello();
        assert_eq!(client.goodbye(), None);
    });
}

each_kind! { HTTP: a_trap_resets_or_answers_its_own_request }
fn a_trap_resets_or_answers_its_own_request(kind: Kind) {
    let (_world, address, host) = web_host(kind, "reuse = 1");
    let mut client = address.http2();
    let mut slow = client.ask("/sleep?1000");
    for _ in 0..20 {
        assert_eq!(client.get("/trap"), (500, b"500 Internal Server Error\n".to_vec()));
        let mut late = client.post("/trap-late");
        late.expect_body("before\n");
        late.finish();
        assert_eq!(late.error(), h2::Reason::INTERNAL_ERROR);
    }
    assert_eq!(slow.answer(), (200, b"slept 1000 ms\n".to_vec()));
    let line = host.log.expect("POST /trap-late 200");
    assert!(line.contains("unreachable"), "{line}");
}

each_kind! { HTTP: more_requests_than_allowed_are_answered_with_503 }
fn more_requests_than_allowed_are_answered_with_503(kind: Kind) {
    over_both_sockets(kind, "max-connections = 2", |address, _| {
        let mut client = address.http2();
        let mut slow = [client.ask("/sleep?2000"), client.ask("/sleep?2000")];
        let mut third = client.ask("/hello");
        assert_eq!(third.answer(), (503, b"503 Service Unavailable\n".to_vec()));
        assert_eq!(third.header("retry-after").as_deref(), Some("1"));
        for request in &mut slow {
            assert_eq!(request.answer().0, 200);
        }
        // A guest may go on after its answer.
        eventually("there is room again", || client.ask("/hello").answer().0 == 200);
    });
}

each_kind! { HTTP: a_large_head_is_answered_with_431 }
fn a_large_head_is_answered_with_431(kind: Kind) {
    let lines: Vec<(String, String)> = (0..40).map(|n| (format!("x-{n}"), "x".repeat(1000))).collect();
    let large: Vec<(&str, &str)> = lines.iter().map(|(name, value)| (&name[..], &value[..])).collect();
    over_both_sockets(kind, "", |address, _| {
        let mut client = address.http2();
        let mut request = client.request("GET", "/hello", &large[..30], true);
        assert_eq!(request.answer(), (200, b"hello\n".to_vec()));
        assert_eq!(client.request("GET", "/hello", &large, true).status(), 431);
        client.expect_hello();
        // RFC 9113, 6.5.2: how large a head may be, and how many requests there may be at a time.
        let settings = address.frames(&[]).next_frame().expect("settings");
        assert_eq!(settings.kind, SETTINGS);
        let settings: Vec<&[u8]> = settings.payload.chunks(6).collect();
        assert!(settings.contains(&&[0, 6, 0, 0, 32 << 2, 0][..]), "{settings:?}");
        assert!(settings.contains(&&[0, 3, 0, 0, 0, 100][..]), "{settings:?}");
    });
}

#[test]
fn a_request_that_its_client_cancels_ends_its_guest_alone() {
    let (_world, address, host) = web_host(Kind::P2, "timeout = \"infinity\"");
    let mut client = address.http2();
    let mut kept = client.ask("/sleep?3000");
    let cancelled = client.ask("/sleep?600000");
    let mut large = client.ask("/big?1000000000");
    large.expect_data();
    host.expect_in_flight(3);
    cancelled.cancel();
    large.cancel();
    host.log.expect("GET /sleep: client left");
    host.log.expect("GET /big 200: client left");
    assert_eq!(kept.answer().0, 200);
    host.expect_in_flight(0);
}

each_kind! { HTTP: a_connection_that_vanishes_ends_its_guests }
fn a_connection_that_vanishes_ends_its_guests(kind: Kind) {
    let (_world, address, host) = web_host(kind, "timeout = \"infinity\"");
    let mut client = address.http2();
    let requests: Vec<Exchange> = (0..5).map(|_| client.ask("/sleep?600000")).collect();
    host.expect_in_flight(5);
    client.vanish();
    host.expect_in_flight(0);
    drop(requests);
}

each_kind! { HTTP: a_guest_waits_for_a_client_that_takes_nothing }
fn a_guest_waits_for_a_client_that_takes_nothing(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "timeout = \"infinity\"");
    let host = world.start(&[]);
    let mut client = address.http2();
    let mut requests: Vec<Exchange> = (0..5).map(|_| client.ask("/big?1000000000")).collect();
    eventually("one of them is answered", || {
        requests.iter_mut().any(Exchange::is_answered)
    });
    eventually("the guests rest", || {
        let before = host.cpu_time();
        thread::sleep(Duration::from_millis(300));
        host.cpu_time() == before
    });
    let most = host.memory("VmHWM:");
    assert!(most < 64 * MIB, "{most} bytes");
    host.expect_in_flight(5);
}

each_kind! { HTTP: a_host_that_is_told_to_stop_says_goodbye_and_finishes_what_it_began }
fn a_host_that_is_told_to_stop_says_goodbye_and_finishes_what_it_began(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let mut host = world.start(&[]);
        let mut idle = idle(&address);
        let mut busy = address.http2();
        let mut slow = busy.ask("/sleep?1500");
        let mut echo = busy.post("/echo");
        echo.send("first");
        echo.expect_body("first");
        host.expect_in_flight(2);
        host.signal(Signal::TERM);
        idle.expect_goodbye();
        eventually("the host says goodbye", || busy.goodbye().is_some());
        assert_eq!(busy.goodbye(), Some(h2::Reason::NO_ERROR));
        echo.send("second");
        echo.finish();
        assert_eq!(echo.answer(), (200, b"firstsecond".to_vec()));
        assert_eq!(slow.answer(), (200, b"slept 1500 ms\n".to_vec()));
        busy.expect_end();
        host.expect_exit(0);
    }
}

each_kind! { HTTP: an_idle_connection_does_not_keep_the_host_and_is_told_goodbye }
fn an_idle_connection_does_not_keep_the_host_and_is_told_goodbye(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "keep-alive = \"infinity\"");
    let mut host = world.start(&["--idle-timeout", "2s"]);
    idle(&address).expect_goodbye();
    host.expect_exit(0);
}

each_kind! { HTTP: connections_that_are_idle_for_too_long_are_told_goodbye }
fn connections_that_are_idle_for_too_long_are_told_goodbye(kind: Kind) {
    over_both_sockets(kind, "keep-alive = \"500ms\"", |address, _| {
        let mut connection = address.frames(&[]);
        connection.send(get(1, "/sleep?1500"));
        assert_eq!(connection.answer(1).expect("an answer").0, 200);
        connection.send(get(3, "/hello"));
        assert_eq!(connection.answer(3).expect("an answer").0, 200);
        connection.expect_goodbye();
    });
}

each_kind! { HTTP: a_connection_is_idle_though_its_client_pings }
fn a_connection_is_idle_though_its_client_pings(kind: Kind) {
    over_both_sockets(kind, "keep-alive = \"500ms\"", |address, _| {
        let mut connection = idle(address);
        let has_ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let mut second = connection.second();
            let has_ended = &has_ended;
            scope.spawn(move || {
                second.read_until_end(|_| {});
                has_ended.store(true, Relaxed);
            });
            eventually("it is closed", || {
                thread::sleep(Duration::from_millis(100));
                let _ = connection.pour(&frame(PING, 0, 0, b"whatever"));
                has_ended.load(Relaxed)
            });
        });
    });
}

each_kind! { HTTP: an_idle_connection_gives_way_to_one_that_waits }
fn an_idle_connection_gives_way_to_one_that_waits(kind: Kind) {
    let (_world, address, _host) = web_host(kind, "max-connections = 1\nkeep-alive = \"infinity\"");
    let mut idle = idle(&address);
    let mut http = address.http();
    http.ask("GET", "/hello");
    idle.expect_goodbye();
    http.response().expect(200, "hello\n");
}

each_kind! { HTTP: a_connection_without_any_request_is_closed_in_its_own_language }
fn a_connection_without_any_request_is_closed_in_its_own_language(kind: Kind) {
    over_both_sockets(kind, "head-timeout = \"500ms\"", |address, _| {
        address.frames(&[]).expect_goodbye();
    });
}

each_kind! { HTTP: a_connection_without_any_request_is_told_goodbye_when_the_host_leaves }
fn a_connection_without_any_request_is_told_goodbye_when_the_host_leaves(kind: Kind) {
    let (_world, address, mut host) = web_host(kind, "");
    let mut connection = address.frames(&[]);
    assert_eq!(connection.next_frame().expect("settings").kind, SETTINGS);
    host.signal(Signal::TERM);
    connection.expect_goodbye();
    host.expect_exit(0);
}

each_kind! { HTTP: a_client_that_asks_and_cancels_all_the_time_disturbs_nobody }
fn a_client_that_asks_and_cancels_all_the_time_disturbs_nobody(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "");
    let host = world.start(&[]);
    for _ in 0..10 {
        let mut connection = address.frames(&[]);
        for stream in (1..).step_by(2).take(2000) {
            let asked = connection.pour(&[get(stream, "/sleep?600000"), reset(stream)].concat());
            if asked.is_err() {
                // The host has ended the connection.
                break;
            }
        }
    }
    // Until the guests of the last requests have ended, they count for `max-connections`.
    eventually("there is room for a request", || {
        let answer = address.get("/hello");
        answer.status == 200 && answer.text() == "hello\n"
    });
    host.expect_in_flight(0);
    let most = host.memory("VmHWM:");
    assert!(most < 128 * MIB, "{most} bytes");
}

each_kind! { HTTP: what_is_no_frame_ends_its_connection_alone }
fn what_is_no_frame_ends_its_connection_alone(kind: Kind) {
    let (_world, address, host) = web_host(kind, "");
    for garbage in [
        &[0xff; 1000][..],
        // DATA for a stream that was never opened; HEADERS that are no HPACK; half a frame.
        b"\0\0\x01\0\0\0\0\0\x01x",
        b"\0\0\x04\x01\x05\0\0\0\x01\xff\xff\xff\xff",
        b"\0\0\x04\x01",
    ] {
        let mut http = address.http();
        http.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        http.send(b"\0\0\0\x04\0\0\0\0\0");
        http.send(garbage);
        http.finish();
        assert_ne!(http.rest().end, End::TimedOut);
    }
    address.get("/hello").expect(200, "hello\n");
    host.expect_in_flight(0);
}
