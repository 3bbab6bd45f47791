//! HTTP/2 with prior knowledge: many requests at a time on one connection, each on its own.

use std::thread;
use std::time::Duration;

use harness::{End, HTTP, Kind, Script, World, each_kind, eventually};
use rustix::process::Signal;

const MIB: u64 = 1024 * 1024;

/// Runs the script against guests of both worlds, over both kinds of sockets.
#[track_caller]
fn both(settings: &str, script: &str) {
    for kind in HTTP {
        let world = World::new(kind);
        for address in world.web_sockets("web", settings) {
            let host = world.start(&[]);
            Script::run(&address, script);
            host.expect_in_flight(0);
        }
    }
}

#[test]
fn a_request_is_seen_as_over_http_1() {
    for kind in HTTP {
        let world = World::new(kind);
        let address = world.web_port("web", "");
        let _host = world.start(&[]);
        Script::run(
            &address,
            r#"
client = Client()
stream = client.ask("/head?x", headers=[("x-two", "1"), ("cookie", "a=b"), ("x-two", "2")])
status, body = client.answer(stream)
assert status == 200
assert body.decode() == """:method: GET
:path: /head?x
:scheme: http
:authority: test
cookie: a=b
x-forwarded-for: 127.0.0.1
x-forwarded-host: test
x-forwarded-proto: http
x-two: 1
x-two: 2
""", body
assert client.header(stream, "date").endswith(" GMT")
for name in "server", "connection", "transfer-encoding", "keep-alive":
    assert client.header(stream, name) is None
"#,
        );
        // The same port, and the same connection as before, for HTTP/1.1.
        address.get("/hello").expect(200, "hello\n");
        let mut http = address.http();
        http.send(
            "GET /hello HTTP/1.1\r\nHost: test\r\nConnection: Upgrade, HTTP2-Settings\r\n\
             Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
        );
        http.response().expect(200, "hello\n");
    }
}

#[test]
fn methods_statuses_and_bodies_are_as_over_http_1() {
    both(
        "",
        r#"
client = Client()
assert client.get("/status?404") == (404, b"")
assert client.get("/status?204") == (204, b"")
for path in "/big?300000", "/sized?300000":
    assert client.get(path) == (200, bytes(n % 251 for n in range(300000)))
    stream = client.ask(path, method="HEAD")
    assert client.answer(stream) == (200, b"")
    assert client.header(stream, "content-length") == ("300000" if "sized" in path else None)
for method in "PUT", "DELETE", "BREW":
    assert client.answer(client.ask("/head", method=method))[1].startswith(b":method: " + method.encode())
for size in 0, 1, 1000000:
    body = bytes(n % 251 for n in range(size))
    for path in "/echo", "/splice":
        stream = client.ask(path, method="POST", end=False)
        client.send(stream, body, end=True)
        assert client.answer(stream) == (200, body)
stream = client.ask("/ignore-body", method="POST", end=False)
client.send(stream, b"short", end=True)
assert client.answer(stream) == (200, b"ignored\n")
assert client.get("/hello") == HELLO
"#,
    );
}

#[test]
fn a_body_is_handed_on_as_it_comes() {
    both(
        "",
        r#"
client = Client()
for path in "/echo", "/splice":
    stream = client.ask(path, method="POST", end=False)
    sent = b""
    for text in b"first", b"second", b"third":
        client.send(stream, text)
        sent += text
        while client.body(stream) != sent:
            assert client.read()
    client.send(stream, end=True)
    assert client.answer(stream) == (200, sent)
"#,
    );
}

#[test]
fn trailers_pass_both_ways() {
    both(
        "",
        r#"
client = Client()
stream = client.ask("/trailers", method="POST", end=False, headers=[("te", "trailers")])
client.send(stream, b"more")
client.h2.send_headers(stream, [("x-b", "2"), ("x-a", "1")], end_stream=True)
client.flush()
assert client.answer(stream) == (200, b"x-a: 1\nx-b: 2\n")
assert client.of(events.TrailersReceived, stream)[0].headers == [("x-sum", "4 0d1be7a2c400c080")]
"#,
    );
}

#[test]
fn requests_of_one_connection_do_not_wait_for_each_other() {
    for kind in HTTP {
        let world = World::new(kind);
        let address = world.web_port("web", "");
        let host = world.start(&[]);
        let mut script = Script::start(
            &address,
            r#"
client = Client()
streams = [client.ask("/sleep?2000") for _ in range(20)]
assert client.get("/hello") == HELLO
assert not any(client.of(events.ResponseReceived, stream) for stream in streams)
tell("asked")
for stream in streams:
    assert client.answer(stream) == (200, b"slept 2000 ms\n")
"#,
        );
        script.expect("asked");
        host.expect_in_flight(20);
        script.go_on();
        script.finish();
        host.expect_in_flight(0);
    }
}

#[test]
fn what_goes_wrong_with_one_request_does_not_touch_the_others() {
    both(
        // An instance of WASI 0.3 that traps would take its other requests with it.
        "timeout = \"2s\"\nmax-body = 1000\nreuse = 1",
        r#"
client = Client()
slow = client.ask("/sleep?1000")
late = client.ask("/trap-late", method="POST", end=False)
while client.body(late) != b"before\n":
    assert client.read()
client.send(late, end=True)
assert client.error(late) == ErrorCodes.INTERNAL_ERROR
assert not client.of(events.StreamEnded, late)
for path, status in ("/error", 500), ("/sleep?600000", 504):
    assert client.get(path)[0] == status
stream = client.ask("/echo-late", method="POST", end=False)
client.send(stream, bytes(1001))
assert client.status(stream) == 413
stream = client.ask("/echo-late", method="POST", end=False, headers=[("content-length", "1001")])
assert client.status(stream) == 413
stream = client.ask("/echo-late", method="POST", end=False)
client.send(stream, b"some")
assert client.status(stream) == 408
assert client.answer(slow)[0] == 200
assert client.get("/hello") == HELLO
assert not client.of(Goodbye)
"#,
    );
}

#[test]
fn a_trap_resets_or_answers_its_own_request() {
    for kind in HTTP {
        let world = World::new(kind);
        let address = world.web_port("web", "reuse = 1");
        let host = world.start(&[]);
        Script::run(
            &address,
            r#"
client = Client()
slow = client.ask("/sleep?1000")
for _ in range(20):
    assert client.get("/trap") == (500, b"500 Internal Server Error\n")
    late = client.ask("/trap-late", method="POST", end=False)
    while client.body(late) != b"before\n":
        assert client.read()
    client.send(late, end=True)
    assert client.error(late) == ErrorCodes.INTERNAL_ERROR
assert client.answer(slow) == (200, b"slept 1000 ms\n")
"#,
        );
        let line = host.log.expect("POST /trap-late 200");
        assert!(line.contains("unreachable"), "{line}");
    }
}

#[test]
fn more_requests_than_allowed_are_answered_with_503() {
    both(
        "max-connections = 2",
        r#"
client = Client()
slow = [client.ask("/sleep?2000") for _ in range(2)]
stream = client.ask("/hello")
assert client.answer(stream) == (503, b"503 Service Unavailable\n")
assert client.header(stream, "retry-after") == "1"
for stream in slow:
    assert client.answer(stream)[0] == 200
assert client.get("/hello") == HELLO
"#,
    );
}

#[test]
fn a_large_head_is_answered_with_431() {
    both(
        "",
        r#"
client = Client()
large = lambda size: [(f"x-{n}", "x" * 1000) for n in range(size // 1000)]
assert client.answer(client.ask("/hello", headers=large(30000))) == HELLO
assert client.status(client.ask("/hello", headers=large(40000))) == 431
assert client.get("/hello") == HELLO
assert client.h2.remote_settings.max_header_list_size == 32 << 10
assert client.h2.remote_settings.max_concurrent_streams == 100
"#,
    );
}

#[test]
fn a_request_that_its_client_cancels_ends_its_guest_alone() {
    let world = World::new(Kind::P2);
    let address = world.web_port("web", "timeout = \"infinity\"");
    let host = world.start(&[]);
    let mut script = Script::start(
        &address,
        r#"
client = Client()
kept = client.ask("/sleep?3000")
cancelled = client.ask("/sleep?600000")
large = client.ask("/big?1000000000")
client.takes = False
client.until(events.DataReceived, large)
tell("asked")
client.reset(cancelled)
client.reset(large)
assert client.answer(kept)[0] == 200
"#,
    );
    script.expect("asked");
    host.expect_in_flight(3);
    script.go_on();
    host.log.expect("GET /sleep: client left");
    host.log.expect("GET /big 200: client left");
    script.finish();
    host.expect_in_flight(0);
}

#[test]
fn a_connection_that_vanishes_ends_its_guests() {
    for kind in HTTP {
        let world = World::new(kind);
        let address = world.web_port("web", "timeout = \"infinity\"");
        let host = world.start(&[]);
        let mut script = Script::start(
            &address,
            r#"
import struct
client = Client()
for _ in range(5):
    client.ask("/sleep?600000")
tell("asked")
client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"#,
        );
        script.expect("asked");
        host.expect_in_flight(5);
        script.go_on();
        script.finish();
        host.expect_in_flight(0);
    }
}

#[test]
fn a_guest_waits_for_a_client_that_takes_nothing() {
    for kind in HTTP {
        let world = World::alone(kind);
        let address = world.web_port("web", "timeout = \"infinity\"");
        let host = world.start(&[]);
        let mut script = Script::start(
            &address,
            r#"
client = Client()
client.takes = False
streams = [client.ask("/big?1000000000") for _ in range(5)]
client.until(events.DataReceived)
tell("asked")
"#,
        );
        script.expect("asked");
        eventually("the guests rest", || {
            let before = host.cpu_time();
            thread::sleep(Duration::from_millis(300));
            host.cpu_time() == before
        });
        let most = host.memory("VmHWM:");
        assert!(most < 64 * MIB, "{most} bytes");
        host.expect_in_flight(5);
        script.go_on();
        script.finish();
    }
}

#[test]
fn a_host_that_is_told_to_stop_says_goodbye_and_finishes_what_it_began() {
    for kind in HTTP {
        let world = World::new(kind);
        for address in world.web_sockets("web", "") {
            let mut host = world.start(&[]);
            let mut idle = Script::start(
                &address,
                "client = Client()\nassert client.get('/hello') == HELLO\ntell('idle')\nclient.expect_goodbye()",
            );
            let mut busy = Script::start(
                &address,
                r#"
client = Client()
slow = client.ask("/sleep?1500")
echo = client.ask("/echo", method="POST", end=False)
client.send(echo, b"first")
client.until(events.DataReceived, echo)
tell("asked")
client.until(Goodbye)
client.send(echo, b"second", end=True)
assert client.answer(echo) == (200, b"firstsecond")
assert client.answer(slow) == (200, b"slept 1500 ms\n")
client.expect_goodbye()
"#,
            );
            idle.expect("idle");
            busy.expect("asked");
            host.expect_in_flight(2);
            host.signal(Signal::TERM);
            idle.go_on();
            busy.go_on();
            idle.finish();
            busy.finish();
            host.expect_exit(0);
        }
    }
}

each_kind! { HTTP: an_idle_connection_does_not_keep_the_host_and_is_told_goodbye }
fn an_idle_connection_does_not_keep_the_host_and_is_told_goodbye(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "keep-alive = \"infinity\"");
    let mut host = world.start(&["--idle-timeout", "2s"]);
    Script::run(
        &address,
        "client = Client()\nassert client.get('/hello') == HELLO\nclient.expect_goodbye()",
    );
    host.expect_exit(0);
}

#[test]
fn connections_that_are_idle_for_too_long_are_told_goodbye() {
    both(
        "keep-alive = \"500ms\"",
        r#"
client = Client()
assert client.get("/sleep?1500")[0] == 200
assert client.get("/hello") == HELLO
client.expect_goodbye()
# To ask whether the other side is there is no request.
client = Client()
client.socket.settimeout(0.1)
assert client.get("/hello") == HELLO
for _ in range(100):
    try:
        if not client.read():
            break
        client.h2.ping(b"whatever")
        client.flush()
    except TimeoutError:
        pass
    except Exception:
        break
else:
    raise AssertionError("it is never closed")
"#,
    );
}

each_kind! { HTTP: an_idle_connection_gives_way_to_one_that_waits }
fn an_idle_connection_gives_way_to_one_that_waits(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "max-connections = 1\nkeep-alive = \"infinity\"");
    let _host = world.start(&[]);
    let mut script = Script::start(
        &address,
        "client = Client()\nassert client.get('/hello') == HELLO\ntell('idle')\nclient.expect_goodbye()",
    );
    script.expect("idle");
    let mut http = address.http();
    http.ask("GET", "/hello");
    script.go_on();
    script.finish();
    http.response().expect(200, "hello\n");
}

#[test]
fn a_connection_without_any_request_is_closed_in_its_own_language() {
    both(
        "head-timeout = \"500ms\"",
        r#"
client = Client()
client.expect_goodbye()
"#,
    );
    // And when the host leaves.
    for kind in HTTP {
        let world = World::new(kind);
        let address = world.web_port("web", "");
        let mut host = world.start(&[]);
        let mut script = Script::start(
            &address,
            r#"
client = Client()
client.until(events.RemoteSettingsChanged)
tell("connected")
client.expect_goodbye()
"#,
        );
        script.expect("connected");
        host.signal(Signal::TERM);
        script.go_on();
        script.finish();
        host.expect_exit(0);
    }
}

#[test]
fn a_client_that_asks_and_cancels_all_the_time_disturbs_nobody() {
    for kind in HTTP {
        let world = World::alone(kind);
        let address = world.web_port("web", "");
        let host = world.start(&[]);
        Script::run(
            &address,
            r#"
for _ in range(10):
    client = Client()
    try:
        for _ in range(2000):
            client.reset(client.ask("/sleep?600000"))
        client.read()
    except (ConnectionError, TimeoutError):
        pass
    client.socket.close()
"#,
        );
        address.get("/hello").expect(200, "hello\n");
        host.expect_in_flight(0);
        let most = host.memory("VmHWM:");
        assert!(most < 128 * MIB, "{most} bytes");
    }
}

each_kind! { HTTP: what_is_no_frame_ends_its_connection_alone }
fn what_is_no_frame_ends_its_connection_alone(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "");
    let host = world.start(&[]);
    for garbage in [
        &[0xff; 1000][..],
        // DATA for a stream that nobody opened; HEADERS that are no HPACK; half a frame.
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
