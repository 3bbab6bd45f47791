//! HTTP/1.1: one request, one answer, and the connection that goes on.

use std::time::{Duration, Instant};

use harness::{Kind, World, each_kind, eventually, web_host};

each_kind! { HTTP: what_is_no_request_is_answered_with_400_and_the_connection_is_over }
fn what_is_no_request_is_answered_with_400_and_the_connection_is_over(kind: Kind) {
    let (_world, address, _host) = web_host(kind, "");
    for request in [
        "hello, is this the echo server?\r\n\r\n",
        "GET /hello HTTP/1.1\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: a\r\n folded: line\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: a\r\nX: \0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n",
    ] {
        let mut http = address.http();
        http.send(request);
        let response = http.response();
        assert_eq!((response.status, request), (400, request));
        http.finish();
        http.expect_closed();
    }
    address.get("/hello").expect(200, "hello\n");
}

each_kind! { HTTP: a_request_with_two_lengths_is_the_last_of_its_connection }
/// RFC 9112, 6.1: it may be an attempt to smuggle a request past a proxy.
fn a_request_with_two_lengths_is_the_last_of_its_connection(kind: Kind) {
    let (_world, address, _host) = web_host(kind, "");
    let mut http = address.http();
    http.send(
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n\
         5\r\nhello\r\n0\r\n\r\nGET /hello HTTP/1.1\r\nHost: a\r\n\r\n",
    );
    let response = http.response();
    response.expect(200, "hello");
    response.expect_last();
    http.expect_closed();
}

each_kind! { HTTP: every_answer_has_a_date_and_none_names_the_server }
fn every_answer_has_a_date_and_none_names_the_server(kind: Kind) {
    let (_world, address, _host) = web_host(kind, "max-body = 0");
    for target in ["/hello", "/trap", "/status?404", "/error"] {
        let response = address.get(target);
        let date = response.header("date").expect("a date");
        assert!(date.ends_with(" GMT"), "{date}");
        assert_eq!(response.header("server"), None);
    }
    let refused = address.http().post("/echo", "x");
    assert!(refused.header("date").is_some(), "{refused:?}");
    assert_eq!(refused.header("content-type"), Some("text/plain"));
}

each_kind! { HTTP: an_answer_is_not_held_back_by_the_next_request }
fn an_answer_is_not_held_back_by_the_next_request(kind: Kind) {
    let (_world, address, _host) = web_host(kind, "");
    let mut http = address.http();
    http.send("GET /hello HTTP/1.1\r\nHost: test\r\n\r\nGET /sleep?3000 HTTP/1.1\r\nHost: test\r\n\r\n");
    let start = Instant::now();
    http.response().expect(200, "hello\n");
    assert!(start.elapsed() < Duration::from_secs(3), "it came with the second");
    http.response().expect(200, "slept 3000 ms\n");

    // One that is the last leaves nothing of itself behind, though more was asked.
    let mut http = address.http();
    http.send(
        "GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\nGET /hello HTTP/1.1\r\nHost: test\r\n\r\n",
    );
    http.response().expect(200, "hello\n");
    http.expect_closed();
}

each_kind! { HTTP: requests_that_come_at_once_are_answered_in_their_order }
fn requests_that_come_at_once_are_answered_in_their_order(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let _host = world.start(&[]);
        let mut http = address.http();
        let round = ["/sleep?100", "/hello", "/status?404", "/trap", "/big?100000"];
        let targets = round.iter().cycle().take(50);
        let requests: String = targets
            .map(|target| format!("GET {target} HTTP/1.1\r\nHost: test\r\n\r\n"))
            .collect();
        http.send(requests);
        http.finish();
        for _ in 0..10 {
            http.response().expect(200, "slept 100 ms\n");
            http.response().expect(200, "hello\n");
            http.response().expect(404, "");
            http.response().expect_status(500);
            assert_eq!(http.response().body.len(), 100_000);
        }
        http.expect_closed();
    }
}

each_kind! { HTTP: a_connection_serves_many_requests_until_its_client_has_enough }
fn a_connection_serves_many_requests_until_its_client_has_enough(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let host = world.start(&[]);
        let mut http = address.http();
        for _ in 0..300 {
            let response = http.get("/hello");
            response.expect(200, "hello\n");
            assert_eq!(response.header("connection"), None);
        }
        http.send("GET /hello HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        let response = http.response();
        response.expect(200, "hello\n");
        response.expect_last();
        http.expect_closed();
        eventually("every request has its line", || host.log.count("GET /hello 200") == 301);
    }
}

each_kind! { HTTP: a_client_that_sends_no_more_still_gets_its_answer }
fn a_client_that_sends_no_more_still_gets_its_answer(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let _host = world.start(&[]);
        for (target, text) in [("/hello", "hello\n"), ("/sleep?1500", "slept 1500 ms\n")] {
            let mut http = address.http();
            http.ask("GET", target);
            http.finish();
            http.response().expect(200, text);
            http.expect_closed();
        }
        let mut http = address.http();
        http.begin("/echo-late", Some(4));
        http.send("more");
        http.finish();
        http.response().expect(200, "4 0d1be7a2c400c080\n");
        http.expect_closed();
    }
}

each_kind! { HTTP: clients_of_http_1_0_get_their_answer_up_to_the_end_of_the_connection }
fn clients_of_http_1_0_get_their_answer_up_to_the_end_of_the_connection(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let _host = world.start(&[]);
        let mut http = address.http();
        http.send("GET /big?300000 HTTP/1.0\r\n\r\n");
        let response = http.response();
        response.expect_status(200);
        assert_eq!(response.version, "HTTP/1.0");
        assert_eq!(response.header("transfer-encoding"), None);
        assert_eq!(response.body.len(), 300_000);
        http.expect_closed();

        let mut http = address.http();
        http.send("GET /head HTTP/1.0\r\n\r\n");
        let text = http.response().text();
        assert!(text.contains(":authority: localhost\n"), "{text}");

        // The connection may go on when the answer has a length.
        let mut http = address.http();
        for _ in 0..3 {
            http.send("GET /sized?10 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
            let response = http.response();
            response.expect_status(200);
            assert_eq!(response.header("connection"), Some("keep-alive"));
        }
    }
}

each_kind! { HTTP: head_is_answered_with_the_head_of_get }
fn head_is_answered_with_the_head_of_get(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let host = world.start(&[]);
        let mut http = address.http();
        for (target, length) in [
            ("/hello", None),
            ("/big?1000000", None),
            ("/sized?1000000", Some("1000000")),
        ] {
            let response = http.head(target);
            assert_eq!(response.status, 200);
            assert_eq!(response.header("content-length"), length);
            // There is no body in between.
            http.get("/hello").expect(200, "hello\n");
        }
        http.head("/trap");
        http.get("/hello").expect(200, "hello\n");
        // Its guest could write all of it.
        host.log.expect("HEAD /big 200 (");
        host.log.expect("HEAD /sized 200 (");
        host.expect_in_flight(0);
    }
}

each_kind! { HTTP: answers_that_have_no_body_have_none }
fn answers_that_have_no_body_have_none(kind: Kind) {
    let (_world, address, host) = web_host(kind, "");
    let mut http = address.http();
    for status in [204, 304, 204] {
        let response = http.get(&format!("/status?{status}"));
        response.expect_status(status);
        assert_eq!(response.header("transfer-encoding"), None);
        assert_eq!(response.header("content-length"), None);
    }
    http.get("/status?205").expect(205, "");
    http.get("/status?418").expect(418, "");
    http.get("/hello").expect(200, "hello\n");
    host.expect_in_flight(0);
}

each_kind! { HTTP: a_module_that_is_replaced_answers_the_next_request_of_a_connection }
fn a_module_that_is_replaced_answers_the_next_request_of_a_connection(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "");
    let host = world.start(&[]);
    let mut http = address.http();
    http.get("/ignore-body").expect(200, "ignored\n");
    let mut second = std::fs::read(harness::wasm(kind, "http-actor")).expect("read a guest");
    let at = second.windows(8).position(|some| some == b"ignored\n");
    let at = at.expect("the actor says \"ignored\"");
    second[at..at + 7].copy_from_slice(b"changed");
    world.compile(&second, "web");
    http.get("/ignore-body").expect(200, "changed\n");

    // One of the other world.
    let other = if kind == Kind::P2 { Kind::P3 } else { Kind::P2 };
    world.install_of(other, "web", "http-actor");
    http.get("/ignore-body").expect(200, "ignored\n");
    http.get("/counter").expect(200, "1\n");

    // One that does not speak HTTP: it answers the next connection, as it can.
    world.install_of(Kind::P2, "web", "echo");
    // What was seen of the files holds for a millisecond.
    eventually("the new module is seen", || http.get("/hello").status == 503);
    address.ask("are you there?").expect_whole("are you there?");
    host.log.expect("no longer answers HTTP requests");
}

each_kind! { HTTP: one_host_serves_bytes_datagrams_and_http_side_by_side }
fn one_host_serves_bytes_datagrams_and_http_side_by_side(kind: Kind) {
    let world = World::new(kind);
    world.web("web", "");
    world.install_of(Kind::P2, "echo", "echo");
    world.install_of(Kind::P1, "hello", "hello");
    let (echo, udp, hello) = (world.tcp("echo"), world.udp("echo"), world.unix("hello"));
    let (tcp, unix) = (world.tcp("web"), world.unix("web"));
    let host = world.start(&[]);
    let mut http = tcp.http();
    for _ in 0..10 {
        http.get("/hello").expect(200, "hello\n");
        echo.ask("ping").expect_whole("ping");
        assert!(hello.knock().text().starts_with("Hello"));
        unix.get("/sized?3").expect_status(200);
        assert_eq!(udp.ask("pong"), b"pong");
    }
    host.expect_in_flight(0);
}
