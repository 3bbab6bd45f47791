//! What is answered when something goes wrong: the guest, the client, or the module.

use std::io::Write;
use std::thread;
use std::time::Duration;

use harness::frames::{CONTINUATION, END_HEADERS, END_STREAM, HEADERS, field, frame, get, head};
use harness::{Address, End, Http, Kind, World, each_kind, eventually, web_host};

const MIB: usize = 1024 * 1024;

/// Asks for `target` with the method POST, and sends some of the body that was announced.
fn begun(address: &Address, target: &str) -> Http {
    let mut http = address.http();
    http.begin(target, Some(100));
    http.send("some");
    http
}

each_kind! { HTTP: a_guest_that_fails_before_its_answer_is_answered_for_with_500 }
fn a_guest_that_fails_before_its_answer_is_answered_for_with_500(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "timeout = \"2s\"") {
        let host = world.start(&[]);
        let mut http = address.http();
        let mut fails = |target: &str, why: &str| {
            let response = http.get(target);
            response.expect(500, "500 Internal Server Error\n");
            // The connection goes on, with another guest.
            assert_eq!(response.header("connection"), None);
            let line = host.log.expect(&format!("GET {target} 500: ended: "));
            assert!(line.contains(why), "{line}");
            http.get("/hello").expect(200, "hello\n");
        };
        fails("/trap", "unreachable");
        fails("/error", "asked for");
        if kind == Kind::P2 {
            fails("/no-answer", "before it answered");
        }
        host.expect_in_flight(0);
    }
}

each_kind! { HTTP: a_guest_that_fails_in_the_middle_of_its_answer_resets_the_connection }
fn a_guest_that_fails_in_the_middle_of_its_answer_resets_the_connection(kind: Kind) {
    let world = World::new(kind);
    let [tcp, unix] = world.web_sockets("web", "");
    let host = world.start(&[]);
    for round in 0..20 {
        let mut http = begun(&tcp, "/trap-late");
        assert_eq!(http.next_head().expect("a head").status, 200);
        assert_eq!(http.chunk(), Ok(b"before\n".to_vec()));
        http.send(vec![b'x'; 96]);
        http.rest().expect_reset_after("");

        // The end of such an answer is the end of the connection, which must not be a good one.
        let mut http = tcp.http();
        http.send("POST /trap-late HTTP/1.0\r\nContent-Length: 2\r\n\r\nx");
        assert_eq!(http.next_head().expect("a head").status, 200, "{round}");
        http.send("x");
        http.rest().expect_reset_after("before\n");
    }
    let line = host.log.expect("POST /trap-late 200");
    assert!(line.contains("unreachable"), "{line}");

    // A Unix socket has no reset of its own; but the last chunk is missing.
    let mut http = begun(&unix, "/trap-late");
    assert_eq!(http.next_head().expect("a head").status, 200);
    assert_eq!(http.chunk(), Ok(b"before\n".to_vec()));
    http.send(vec![b'x'; 96]);
    assert_eq!(http.rest().text(), "");
    host.expect_in_flight(0);
    tcp.get("/hello").expect(200, "hello\n");
}

each_kind! { HTTP: a_guest_that_takes_too_long_is_answered_for_with_504 }
fn a_guest_that_takes_too_long_is_answered_for_with_504(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "timeout = \"300ms\"") {
        let host = world.start(&[]);
        let mut http = address.http();
        http.get("/sleep?600000").expect(504, "504 Gateway Timeout\n");
        let line = host.log.expect("GET /sleep 504");
        assert!(line.contains("raise `timeout`"), "{line}");
        http.get("/hello").expect(200, "hello\n");
        if kind == Kind::P3 {
            http.get("/no-answer").expect(504, "504 Gateway Timeout\n");
        }
        host.expect_in_flight(0);
    }
}

each_kind! { HTTP: a_body_that_takes_too_long_is_answered_with_408_or_a_reset }
fn a_body_that_takes_too_long_is_answered_with_408_or_a_reset(kind: Kind) {
    let (_world, address, host) = web_host(kind, "timeout = \"300ms\"");
    let response = begun(&address, "/echo-late").response();
    response.expect(408, "408 Request Timeout\n");
    response.expect_last();
    let line = host.log.expect("POST /echo-late 408");
    assert!(line.contains("its body did not come within"), "{line}");

    let response = begun(&address, "/echo").response();
    response.expect_reset_after("some");
    let line = host.log.expect("POST /echo 200");
    assert!(line.contains("raise `timeout`"), "{line}");
    host.expect_in_flight(0);
    address.get("/hello").expect(200, "hello\n");
}

#[test]
fn a_guest_that_computes_too_long_is_answered_for_with_500() {
    for (kind, target) in [(Kind::P2, "/spin"), (Kind::P3, "/spin"), (Kind::P3, "/spin-yield")] {
        let world = World::new(kind);
        let address = world.web_port("web", "cpu-time = \"300ms\"");
        let host = world.start(&[]);
        let mut http = address.http();
        http.get(target).expect_status(500);
        let line = host.log.expect(&format!("GET {target} 500"));
        assert!(line.contains("raise `cpu-time`"), "{line}");
        http.get("/hello").expect(200, "hello\n");
        host.expect_in_flight(0);
    }
}

each_kind! { HTTP: a_guest_that_ran_out_of_memory_is_answered_for_with_500 }
fn a_guest_that_ran_out_of_memory_is_answered_for_with_500(kind: Kind) {
    let world = World::new(kind);
    // Less than it needs to begin.
    let address = world.web_port("web", "memory = \"64KiB\"");
    let host = world.start(&[]);
    address.get("/hello").expect_status(500);
    host.log.expect("raise `memory`");
}

each_kind! { HTTP: a_head_that_takes_too_long_is_answered_with_408 }
fn a_head_that_takes_too_long_is_answered_with_408(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "head-timeout = \"500ms\"") {
        let host = world.start(&[]);
        let too_slow = |http: &mut Http| {
            let response = http.response();
            response.expect(408, "408 Request Timeout\n");
            response.expect_last();
            http.finish();
            http.expect_closed();
        };
        // One that stops in the middle, one that was faster before. (Who says nothing asks nothing.)
        let mut http = address.http();
        http.send("GET /hello HTTP/1.1\r\nHost: te");
        too_slow(&mut http);
        let mut http = address.http();
        http.get("/hello").expect(200, "hello\n");
        http.send("GET");
        too_slow(&mut http);

        // Time is not won by sending a byte now and then.
        let mut http = address.http();
        let mut slow = http.second();
        let dripping = thread::spawn(move || {
            while slow.write_all(b"x").is_ok() {
                thread::sleep(Duration::from_millis(50));
            }
        });
        let response = http.try_response();
        assert_eq!(response.map(|response| response.status), Ok(408));
        http.hang_up();
        dripping.join().unwrap();
        host.expect_in_flight(0);
    }
}

each_kind! { HTTP: a_request_may_take_longer_than_its_head }
fn a_request_may_take_longer_than_its_head(kind: Kind) {
    let (_world, address, _host) = web_host(kind, "head-timeout = \"200ms\"");
    let mut http = begun(&address, "/echo-late");
    thread::sleep(Duration::from_millis(600));
    http.send(vec![b'x'; 96]);
    assert_eq!(http.response().status, 200);
    http.get("/sleep?600").expect(200, "slept 600 ms\n");
    // Nor is a connection without a request taken for one that is slow.
    thread::sleep(Duration::from_millis(600));
    http.get("/hello").expect(200, "hello\n");
}

each_kind! { HTTP: a_large_body_is_answered_with_413 }
fn a_large_body_is_answered_with_413(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "max-body = 1000") {
        let host = world.start(&[]);
        let mut http = address.http();
        let body = vec![b'x'; 1000];
        assert_eq!(http.post("/echo", &body).body, body);
        http.begin("/echo-late", None);
        http.send_chunk(&body);
        http.send_chunk("");
        http.response().expect_status(200);

        // Its length is known beforehand: no guest starts for it, and it is not waited for.
        let mut http = address.http();
        http.begin("/hello", Some(1001));
        let response = http.response();
        response.expect(413, "413 Payload Too Large\n");
        response.expect_last();
        let line = host.log.expect("POST /hello 413");
        assert!(line.contains("raise `max-body`"), "{line}");

        let mut http = address.http();
        http.begin("/echo-late", None);
        http.send_chunk(&body);
        http.send_chunk("x");
        let response = http.response();
        response.expect(413, "413 Payload Too Large\n");
        response.expect_last();
        host.log.expect("POST /echo-late 413");
        host.expect_in_flight(0);
    }
    // The answer has begun.
    let address = world.web_port("echo", "max-body = 1000");
    let host = world.start(&[]);
    let mut http = address.http();
    http.begin("/echo", None);
    http.send_chunk("x");
    assert_eq!(http.next_head().expect("a head").status, 200);
    http.send_chunk(vec![b'x'; 1000]);
    assert_eq!(http.rest().end, End::Reset);
    host.expect_in_flight(0);
}

each_kind! { HTTP: a_refusal_arrives_though_the_client_sends_all_of_its_body_first }
fn a_refusal_arrives_though_the_client_sends_all_of_its_body_first(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "max-body = 0") {
        let _host = world.start(&[]);
        address.get("/hello").expect(200, "hello\n");
        for _ in 0..20 {
            let mut http = address.http();
            http.begin("/echo", Some(MIB));
            let mut second = http.second();
            let pouring = thread::spawn(move || {
                // The host may have enough of it.
                let _ = second.write_all(&vec![b'x'; MIB]);
            });
            http.response().expect(413, "413 Payload Too Large\n");
            http.hang_up();
            pouring.join().unwrap();
        }
    }
}

each_kind! { HTTP: a_large_head_is_answered_with_431 }
fn a_large_head_is_answered_with_431(kind: Kind) {
    let world = World::new(kind);
    let addresses = [
        (world.web_port("small", "max-head = \"8KiB\""), 8 << 10),
        (world.web_port("web", ""), 32 << 10),
        (world.web_port("large", "max-head = \"128KiB\""), 128 << 10),
    ];
    let host = world.start(&[]);
    for (address, most) in addresses {
        let request = |size: usize| {
            let mut http = address.http();
            let value = "x".repeat(size);
            http.send(format!("GET /hello HTTP/1.1\r\nHost: test\r\nX-Large: {value}\r\n\r\n"));
            http
        };
        request(most - 1000).response().expect(200, "hello\n");
        let mut http = request(most + 1000);
        assert_eq!(http.response().status, 431, "{most}");
        http.finish();
        http.expect_closed();
        // A target that is too long has a status of its own.
        let mut http = address.http();
        http.ask("GET", &format!("/{}", "x".repeat(most + 1000)));
        let status = http.response().status;
        assert!([414, 431].contains(&status), "{status}");
    }
    host.expect_in_flight(0);
}

each_kind! { HTTP: a_broken_module_is_answered_for_with_503_to_clients_that_speak_http }
fn a_broken_module_is_answered_for_with_503_to_clients_that_speak_http(kind: Kind) {
    let world = World::new(kind);
    std::fs::write(world.module("web.wasm"), "not a module").expect("write a module");
    let [tcp, unix] = [world.tcp("web"), world.unix("web")];
    let missing = world.tcp("missing");
    let host = world.start(&[]);
    for address in [&tcp, &unix, &missing] {
        for method in ["GET", "POST", "HEAD"] {
            let mut http = address.http();
            http.ask(method, "/hello");
            let response = http.next_head().expect("a head");
            assert_eq!(response.status, 503);
            assert_eq!(response.header("retry-after"), Some("1"));
        }
    }
    // Others would not understand it.
    tcp.ask("are you there?").expect_reset_after("");
    tcp.knock().expect_reset_after("");
    host.expect_in_flight(0);
    assert_eq!(host.log.count("web: "), 1, "{}", host.log.text());

    // It is mended, and so is the connection that was there.
    let mut http = tcp.http();
    http.get("/hello").expect_status(503);
    world.install("web", "http-actor");
    eventually("the module is found", || http.get("/hello").status == 200);
}

each_kind! { HTTP: a_status_that_no_answer_can_have_is_refused }
/// RFC 9110, 15: those below 200 are not final, and those above 599 are invalid.
fn a_status_that_no_answer_can_have_is_refused(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "");
    // Those above 599 a guest of WASI 0.3 cannot even set.
    let large = if kind == Kind::P2 { &[600, 799, 999][..] } else { &[] };
    for status in [&[100, 101, 102, 103, 199], large].concat() {
        let host = world.start(&[]);
        let mut http = address.http();
        let target = format!("/status?{status}");
        http.get(&target).expect(500, "500 Internal Server Error\n");
        http.get("/hello").expect(200, "hello\n");
        assert_eq!(http.head(&target).status, 500);
        http.get("/hello").expect(200, "hello\n");

        let mut connection = address.frames(&[]);
        connection.send(get(1, &target));
        let answer = connection.answer(1).map(|(status, _)| status);
        assert_eq!(answer, Ok(500), "{status}");
        connection.send(get(3, "/hello"));
        assert_eq!(connection.answer(3), Ok((200, b"hello\n".to_vec())));

        eventually("each has a line with the reason", || {
            let lines = host.log.lines();
            let why = |line: &&String| {
                let (_, why) = line.split_once("/status 500: ").unwrap_or_default();
                let (why, _) = why.rsplit_once(" (").unwrap_or_default();
                why.contains(&status.to_string())
            };
            lines.iter().filter(why).count() == 3
        });
    }
}

/// `count` lines of ten bytes each.
fn lines(count: usize) -> Vec<(String, String)> {
    (0..count).map(|n| (format!("x-{n:04}"), String::new())).collect()
}

/// A request that is all head, in as many frames as it needs.
fn large_get(stream: u32, target: &str, lines: &[(String, String)]) -> Vec<u8> {
    let mut block = head("GET", target, &[]);
    for (name, value) in lines {
        block.extend(field(name, value));
    }
    let mut pieces = block.chunks(16_384).peekable();
    let mut bytes = Vec::new();
    let mut kind = HEADERS;
    while let Some(piece) = pieces.next() {
        let is_last = pieces.peek().is_none();
        let mut flags = if is_last { END_HEADERS } else { 0 };
        if kind == HEADERS {
            flags |= END_STREAM;
        }
        bytes.extend(frame(kind, flags, stream, piece));
        kind = CONTINUATION;
    }
    bytes
}

each_kind! { HTTP: a_head_may_have_as_many_lines_as_its_size_allows }
/// `max-head` bounds the lines; over HTTP/2 each counts 32 bytes more (RFC 9113, 6.5.2).
fn a_head_may_have_as_many_lines_as_its_size_allows(kind: Kind) {
    let (_world, address, host) = web_host(kind, "");
    for (count, status) in [(95, 200), (101, 200), (200, 200), (500, 200), (4000, 431)] {
        let lines = lines(count);
        let told = lines.iter().map(|(name, _)| format!("{name}: \n"));
        let told: String = told.collect();
        let mut http = address.http();
        let sent: String = lines.iter().map(|(name, _)| format!("{name}: \r\n")).collect();
        assert_eq!(sent.len(), 10 * count);
        http.send(format!("GET /head HTTP/1.1\r\nHost: test\r\n{sent}\r\n"));
        let response = http.response();
        assert_eq!(response.status, status, "{count} lines over HTTP/1");
        if status == 200 {
            assert!(response.text().contains(&told), "{}", response.text());
            http.get("/hello").expect(200, "hello\n");
        }

        let mut connection = address.frames(&[]);
        connection.send(large_get(1, "/head", &lines));
        let (came, text) = connection.answer(1).expect("an answer");
        assert_eq!(came, status, "{count} lines over HTTP/2");
        assert!(status != 200 || String::from_utf8_lossy(&text).contains(&told));
    }
    host.expect_in_flight(0);
}
