//! Clients that abuse HTTP/1.1: their neighbours are answered, the host's memory stays bounded, and
//! no request is seen that another server would not have seen.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Address, Client, End, Http, Kind, PATIENCE, Siege, each_kind};
use rustix::net::sockopt::{self, Timeout};

const MIB: usize = 1024 * 1024;

/// What a deadline may be late by.
const SLACK: Duration = Duration::from_secs(2);

/// How long a connection may be kept, after its answer, for a client that goes on sending.
const LINGER: Duration = Duration::from_secs(2);

/// All answers to what is sent at once, and how the connection ended.
fn answers(address: &Address, sent: &[u8]) -> (Vec<u16>, End) {
    let mut http = address.http();
    // Some of it may be too much for the host.
    let _ = http.write_all(sent);
    http.finish();
    let mut statuses = Vec::new();
    loop {
        match http.try_response() {
            Ok(response) => statuses.push(response.status),
            Err(instead) => {
                assert_eq!(instead.text(), "", "after {statuses:?}");
                return (statuses, instead.end);
            }
        }
    }
}

/// The head of a request to `/echo-late`, with these lines after the first.
fn post(lines: &str) -> String {
    format!("POST /echo-late HTTP/1.1\r\nHost: a\r\n{lines}")
}

/// Follows each of the shapes. No guest sees it: where it is part of a body, or after something
/// that has no certain end.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";

/// A request like any other.
const NEXT: &str = "GET /hello HTTP/1.1\r\nHost: a\r\n\r\n";

each_kind! { HTTP: a_request_whose_end_is_uncertain_is_answered_with_400_and_nothing_after_it_is_read }
fn a_request_whose_end_is_uncertain_is_answered_with_400_and_nothing_after_it_is_read(kind: Kind) {
    let lines = [
        // Two lengths.
        "Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        "Content-Length: 2\r\nContent-Length: 1\r\n\r\nxx",
        "Content-Length: 0\r\nX: y\r\ncontent-length: 38\r\n\r\n",
        "Content-Length: 1, 2\r\n\r\nxx",
        "Content-Length: 1\nContent-Length: 2\n\nxx",
        // No length.
        "Content-Length:\r\n\r\n",
        "Content-Length: +2\r\n\r\nxx",
        "Content-Length: -2\r\n\r\nxx",
        "Content-Length: 0x2\r\n\r\nxx",
        "Content-Length: 2 2\r\n\r\nxx",
        "Content-Length: 2;\r\n\r\nxx",
        "Content-Length: 2\x0b\r\n\r\nxx",
        "Content-Length: \u{661}\r\n\r\nx",
        "Content-Length: 18446744073709551618\r\n\r\nxx",
        "Content-Length: 36893488147419103234\r\n\r\nxx",
        // Hidden from one of two who read.
        "Content-Length : 2\r\n\r\nxx",
        "Content-Length\t: 2\r\n\r\nxx",
        "Content-Length\0: 2\r\n\r\nxx",
        " Content-Length: 2\r\n\r\nxx",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding\t: chunked\r\n\r\n0\r\n\r\n",
        "X: y\r\n Content-Length: 38\r\n\r\n",
        "X: y\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
        "Content-Length:\r\n 38\r\n\r\n",
        "X: y\rContent-Length: 38\r\n\r\n",
        "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "X: y\0\r\nContent-Length: 2\r\n\r\nxx",
        "Content-Length: 2\0\r\n\r\nxx",
        "no colon\r\nContent-Length: 2\r\n\r\nxx",
        ": no name\r\nContent-Length: 2\r\n\r\nxx",
        // Encodings that do not end with chunks, or that only look like it.
        "Transfer-Encoding: identity\r\n\r\n",
        "Transfer-Encoding: gzip\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding:\r\n\r\n0\r\n\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: identity\r\n\r\nxx",
    ];
    let whole = [
        "POST /echo-late HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /echo-late HTTP/1.1\r\n Content-Length: 2\r\nHost: a\r\n\r\nxx",
        "POST /echo-late HTTP/1.1\rHost: a\r\r",
        "POST /echo-late HTTP/1.1 \r\nHost: a\r\nContent-Length: 2\r\n\r\nxx",
        "POST  /echo-late HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nxx",
        "POST /echo-late HTTP/1.1 HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST\0 /echo-late HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /echo\0-late HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /echo-late\r\n\r\n",
    ];
    let siege = Siege::begin(kind, "");
    let lines = lines.iter().map(|lines| post(lines));
    for shape in lines.chain(whole.map(str::to_owned)) {
        let (statuses, end) = answers(&siege.target, (shape.clone() + SMUGGLED).as_bytes());
        assert_eq!((statuses, end), (vec![400], End::Closed), "{shape:?}");
    }
    let log = siege.end();
    assert!(!log.contains("/smuggled"), "{log}");
}

each_kind! { HTTP: a_request_with_two_kinds_of_length_is_the_last }
/// RFC 9112, 6.1: chunks go before the length, and the connection ends.
fn a_request_with_two_kinds_of_length_is_the_last(kind: Kind) {
    let lines = [
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "transfer-encoding:chunked\r\nX: y\r\ncontent-length:4\r\n\r\n0\r\n\r\n",
        "CONTENT-LENGTH: 0\r\nTRANSFER-ENCODING: CHUNKED\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\nContent-Length: 4\n\n0\r\n\r\n",
        "Content-Length: 4\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "Content-Length: 4\r\nTransfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        // What the length says is not even looked at.
        "Transfer-Encoding: chunked\r\nContent-Length: x\r\n\r\n0\r\n\r\n",
    ];
    let siege = Siege::begin(kind, "");
    for lines in lines {
        for before in ["", NEXT] {
            let sent = before.to_owned() + &post(lines) + SMUGGLED;
            let mut http = siege.target.http();
            http.send(sent);
            if !before.is_empty() {
                http.response().expect_status(200);
            }
            let response = http.response();
            assert_eq!((response.status, lines), (200, lines));
            response.expect_last();
            http.expect_closed();
        }
    }
    let log = siege.end();
    assert!(!log.contains("/smuggled"), "{log}");
}

each_kind! { HTTP: chunks_that_make_no_sense_end_the_connection }
fn chunks_that_make_no_sense_end_the_connection(kind: Kind) {
    let shapes = [
        "x\r\n",
        "\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello\r\n0\r\n\r\n",
        "5,\r\nhello\r\n0\r\n\r\n",
        "5\nhello\n0\n\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloo\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "5;a=b\nhello\r\n0\r\n\r\n",
        "5;a=b\n0\r\n\r\n",
        "5 \n0\r\n\r\n",
        "10000000000000000\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffff0\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nno colon\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n folded\r\n\r\n",
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: \0\r\n\r\n",
        "5\r\nhello\r\n0\r",
    ];
    let siege = Siege::begin(kind, "timeout = \"10s\"");
    for shape in shapes {
        for target in ["/echo-late", "/echo", "/trailers"] {
            let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
            let sent = head + shape + SMUGGLED;
            let mut http = siege.target.http();
            http.send(&sent);
            http.finish();
            let first = http.try_response();
            // A guest that has begun with its answer cannot take it back.
            eprintln!(
                "{target} {shape:?}: {:?}",
                first.as_ref().map(|r| (r.status, r.cut, r.text()))
            );
            let rest = http.rest();
            assert_eq!(rest.text(), "", "{target} {shape:?} after {first:?}");
        }
    }
    let log = siege.end();
    assert!(!log.contains("/smuggled"), "{log}");
}

each_kind! { HTTP: a_request_with_one_length_is_followed_by_the_next }
fn a_request_with_one_length_is_followed_by_the_next(kind: Kind) {
    let lines = [
        "Content-Length: 2\r\n\r\nxx",
        "Content-Length:2\r\n\r\nxx",
        "Content-Length: \t 2 \t \r\n\r\nxx",
        "Content-Length: 0002\r\n\r\nxx",
        "Content-Length: 2\r\nContent-Length: 2\r\n\r\nxx",
        "Transfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n0\r\n\r\n",
        "Transfer-Encoding: ChUnKeD\r\n\r\n02\r\nxx\r\n00000\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n2;a=\"b;\";c\r\nxx\r\n0;x\r\n\r\n",
        // Trailers are no headers.
        "Transfer-Encoding: chunked\r\n\r\n2\r\nxx\r\n0\r\nTransfer-Encoding: chunked\r\nHost: b\r\n\r\n",
        // Lines may end with a line feed alone (RFC 9112, 2.2): for all that there is to say.
        "Content-Length: 2\n\nxx",
        "Content-Length: 2\n\r\nxx",
        "Content-Length: 2\r\n\nxx",
        "X: y\nTransfer-Encoding: chunked\n\n2\r\nxx\r\n0\r\n\r\n",
        // What is offered and not taken changes nothing.
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: \r\nContent-Length: 2\r\n\r\nxx",
        "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nxx",
        "Connection: Content-Length\r\nContent-Length: 2\r\n\r\nxx",
    ];
    let siege = Siege::begin(kind, "");
    for lines in lines {
        let (statuses, end) = answers(&siege.target, (post(lines) + NEXT).as_bytes());
        assert_eq!((statuses, end), (vec![200, 200], End::Closed), "{lines:?}");
    }
    // An empty line or two before a request are nothing (RFC 9112, 2.2).
    let sent = format!("\r\n{NEXT}\r\n{NEXT}\n{NEXT}");
    assert_eq!(answers(&siege.target, sent.as_bytes()).0, [200; 3]);
    siege.end();
}

each_kind! { HTTP: a_body_that_looks_like_a_request_is_none }
/// A body that nobody reads is not taken for a request.
fn a_body_that_looks_like_a_request_is_none(kind: Kind) {
    let length = SMUGGLED.len();
    let siege = Siege::begin(kind, "max-body = 1000");
    for target in [
        "/hello",
        "/ignore-body",
        "/echo",
        "/echo-late",
        "/status?204",
        "/status?304",
        "/status?404",
        "/trap",
        "/error",
        "/big?100000",
        "/nothing",
    ] {
        for method in ["POST", "GET", "HEAD", "DELETE", "OPTIONS", "CONNECT"] {
            for length in [
                format!("Content-Length: {length}\r\n\r\n{SMUGGLED}"),
                format!("Content-Length: {}\r\n\r\n{SMUGGLED}{SMUGGLED}", 2 * length),
                format!("Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"),
                format!("Content-Length: 1001\r\n\r\n{SMUGGLED}{SMUGGLED}"),
                format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"),
                format!("Transfer-Encoding: chunked\r\n\r\n{length:x};{SMUGGLED}"),
            ] {
                let mut client = siege.target.connect();
                client.send(format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{length}{NEXT}"));
                client.finish();
                assert_ne!(client.answer().end, End::TimedOut, "{method} {target} {length:?}");
            }
        }
    }
    let log = siege.end();
    assert!(!log.contains("/smuggled"), "{log}");
}

each_kind! { HTTP: a_guest_hears_of_one_authority_only }
/// RFC 9112, 3.2.2: the target tells who was meant, and not `Host`.
fn a_guest_hears_of_one_authority_only(kind: Kind) {
    let siege = Siege::begin(kind, "");
    let mut http = siege.target.http();
    http.send("GET http://one.test/head HTTP/1.1\r\nHost: two.test\r\n\r\n");
    let text = http.response().text();
    assert!(text.contains(":authority: one.test\n"), "{text}");
    assert!(!text.contains("two.test"), "{text}");
    drop(http);
    for request in [
        "GET http://one.test/head HTTP/1.1\r\nHost: one.test\r\nHost: two.test\r\n\r\n",
        "GET /head HTTP/1.1\r\nHost: one.test, two.test\r\n\r\n",
        "GET /head HTTP/1.1\r\nHost: one.test/two.test\r\n\r\n",
        "GET /head HTTP/1.1\r\nHost: one.test?two.test\r\n\r\n",
        "GET /head HTTP/1.1\r\nHost: one.test two.test\r\n\r\n",
        "GET /head HTTP/1.1\r\nHost:\r\n\r\n",
        "GET /head HTTP/1.1\r\n\r\n",
        "GET one.test/head HTTP/1.1\r\nHost: two.test\r\n\r\n",
        "GET http:///head HTTP/1.1\r\nHost: two.test\r\n\r\n",
    ] {
        let (statuses, end) = answers(&siege.target, request.as_bytes());
        assert_eq!((statuses, end), (vec![400], End::Closed), "{request:?}");
    }
    siege.end();
}

/// Numbers that look random, and are the same each time (xorshift).
fn noise(seed: u64) -> impl Iterator<Item = u8> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    })
}

each_kind! { HTTP: what_is_no_http_is_refused }
fn what_is_no_http_is_refused(kind: Kind) {
    // As OpenSSL begins (RFC 8446, 4.1.2), up to the first extensions.
    let mut hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec();
    hello.extend(noise(1).take(32));
    hello.extend(b"\x20");
    hello.extend(noise(2).take(32));
    hello.extend(b"\x00\x02\x13\x01\x01\x00\x01\xb1\x00\x00\x00\x0e\x00\x0c\x00\x00\x09localhost");
    let plain: [&[u8]; 17] = [
        &hello,
        b"\0",
        b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET /hello\r\n\r\n",
        b"GET /hello\n\n",
        b"GET /hello HTTP/0.9\r\n\r\n",
        b"GET /hello HTTP/3.0\r\n\r\n",
        b"GET /hello HTTP/1.2\r\nHost: a\r\n\r\n",
        b"GET /hello http/1.1\r\nHost: a\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"PRI * HTTP/1.1\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n\x80: x\r\n\r\n",
        b"GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
        b"(GET) /hello HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\xff\xfe\xfd\xfc\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
    ];
    let noises = (1..200).map(|seed| noise(seed).take(seed as usize * 40).collect());
    let shapes: Vec<Vec<u8>> = plain.map(<[u8]>::to_vec).into_iter().chain(noises).collect();
    let siege = Siege::begin(kind, "head-timeout = \"2s\"");
    for shape in &shapes {
        let (statuses, end) = answers(&siege.target, shape);
        let is_refused = statuses.iter().all(|status| (400..600).contains(status));
        let text = String::from_utf8_lossy(shape);
        assert!(is_refused, "{text:?}: {statuses:?}");
        assert_ne!(end, End::TimedOut, "{text:?}");
    }
    // HTTP/2 does not begin in the middle of something else.
    let sent = NEXT.to_owned() + "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let (statuses, _) = answers(&siege.target, sent.as_bytes());
    assert_eq!(statuses.first(), Some(&200), "{statuses:?}");
    assert!(statuses[1..].iter().all(|status| *status >= 400), "{statuses:?}");
    siege.end();
}

/// Sends something that has no end until the host answers, or ends the connection: for how long.
fn pour(address: &Address, start: &str, more: &str) -> (Duration, Http) {
    let mut http = address.http();
    http.send(start);
    let more = more.repeat(64 * 1024 / more.len());
    let start = Instant::now();
    while start.elapsed() < PATIENCE
        && !http.hears_anything_within(Duration::ZERO)
        && http.write_all(more.as_bytes()).is_ok()
    {}
    (start.elapsed(), http)
}

each_kind! { HTTP: what_has_no_end_is_not_taken_without_end }
fn what_has_no_end_is_not_taken_without_end(kind: Kind) {
    let long = "x".repeat(64 * 1024);
    let many: String = (0..5000).map(|n| format!("X-{n}: x\r\n")).collect();
    let chunked = post("Transfer-Encoding: chunked\r\n\r\n");
    let siege = Siege::begin(kind, "head-timeout = \"1s\"\ntimeout = \"1s\"");
    for head in [
        format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("{long} / HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{long}: x\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {long}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"),
    ] {
        let (statuses, end) = answers(&siege.target, head.as_bytes());
        let [status] = statuses[..] else {
            panic!("{}: {statuses:?}", &head[..20]);
        };
        assert!([400, 414, 431].contains(&status), "{}: {status}", &head[..20]);
        assert_eq!(end, End::Closed);
    }
    for (start, more) in [
        ("", "x"),
        ("GET /", "x"),
        ("\r\n", "\r\n"),
        ("GET / HTTP/1.1\r\nHost: a\r\n", "X: x\r\n"),
        ("GET / HTTP/1.1\r\nHost: a\r\nX:", " "),
        (&*chunked, "0"),
        (&*(chunked.clone() + "1;"), "x"),
        (
            &*chunked,
            "1;xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\r\nx\r\n",
        ),
        (&*(chunked.clone() + "0\r\n"), "X: x\r\n"),
        (&*(chunked.clone() + "0\r\nX: "), "x"),
    ] {
        let (took, _) = pour(&siege.target, start, more);
        let most = Duration::from_secs(1) + SLACK;
        assert!(took < most, "{start:?}, {more:?}: {took:?}");
    }
    siege.end();
}

/// What keeps the host reading, and says nothing: others have their turn.
#[test]
fn clients_that_never_pause_do_not_disturb() {
    let chunked = post("Transfer-Encoding: chunked\r\n\r\n");
    let siege = Siege::begin(Kind::P2, "timeout = \"5s\"\nmax-body = \"1TiB\"");
    for (start, more) in [
        (chunked.clone(), "0"),
        (chunked.clone() + "1", " "),
        (chunked.clone(), "1\r\nx\r\n"),
        (post("Content-Length: 1000000000000\r\n\r\n"), "x"),
    ] {
        eprintln!("{more:?} after {start:?}:");
        let more = more.repeat(64 * 1024 / more.len());
        let connect = |_| {
            let mut client = siege.target.connect();
            client.send(&start);
            client
        };
        let clients: Vec<Client> = (0..8).map(connect).collect();
        thread::scope(|scope| {
            for mut second in clients.iter().map(Client::second) {
                let more = &more;
                scope.spawn(move || while second.write_all(more.as_bytes()).is_ok() {});
            }
            // They end with their connections, whatever comes of this.
            let _clients: Vec<HangUp> = clients.iter().map(HangUp).collect();
            let took = siege.neighbour_is_answered();
            assert!(took < SLACK, "{took:?}");
        });
    }
    siege.end();
}

/// Ends a connection, for those, too, who hold it as their second.
struct HangUp<'a>(&'a Client);

impl Drop for HangUp<'_> {
    fn drop(&mut self) {
        self.0.hang_up();
    }
}

each_kind! { HTTP: a_body_of_tiny_chunks_is_bounded }
/// Requests of a body that is all but endless: bounded by `max-body`, and by `timeout`.
fn a_body_of_tiny_chunks_is_bounded(kind: Kind) {
    let siege = Siege::begin(kind, "timeout = \"1s\"\nmax-body = \"1MiB\"");
    let chunked = post("Transfer-Encoding: chunked\r\n\r\n");
    let (took, mut http) = pour(&siege.target, &chunked, "1\r\nx\r\n");
    assert!(took < Duration::from_secs(1) + SLACK, "{took:?}");
    if let Ok(response) = http.try_response() {
        assert!([408, 413].contains(&response.status), "{response:?}");
    }
    siege.neighbour_is_answered();
    drop(http);
    siege.end();
}

/// Connections to a handler with few places, which send a byte now and then.
struct Dripping {
    connections: Vec<Http>,
    thread: thread::JoinHandle<()>,
}

impl Dripping {
    fn start(address: &Address, count: usize, start: &str) -> Self {
        let connect = |_| {
            let mut http = address.http();
            http.send(start);
            http
        };
        let connections: Vec<Http> = (0..count).map(connect).collect();
        let mut second: Vec<Client> = connections.iter().map(|http| http.second()).collect();
        let thread = thread::spawn(move || {
            while !second.is_empty() {
                second.retain_mut(|client| client.write_all(b"x").is_ok());
                thread::sleep(Duration::from_millis(50));
            }
        });
        Self { connections, thread }
    }

    /// Each is answered with this status.
    #[track_caller]
    fn end(self, status: u16) {
        for mut http in self.connections {
            let response = http.response();
            assert_eq!((response.status, response.cut), (status, None));
            response.expect_last();
            http.hang_up();
        }
        self.thread.join().expect("it only writes");
    }
}

const PLACES: usize = 8;

#[test]
fn slow_heads_hold_all_places_for_a_short_time_only() {
    let patience = Duration::from_millis(500);
    let settings = format!("head-timeout = \"500ms\"\nmax-connections = {PLACES}");
    // No guest has a part in it.
    let siege = Siege::begin(Kind::P2, &settings);
    // Twice as many as there are places: the others wait in the kernel's queue.
    let start = Instant::now();
    let slow = Dripping::start(&siege.target, 2 * PLACES, "GET /hel");
    siege.neighbour_is_answered();
    siege.target_answers();
    // Each round lasts until the head's time is up, and then until the host has had enough of
    // what still comes.
    let took = start.elapsed();
    assert!(took >= patience, "{took:?}: nobody held the places");
    assert!(took < (patience + LINGER) * 2 + SLACK, "{took:?}");
    slow.end(408);

    // So it is with clients that say nothing at all, and with HTTP/2.
    for words in ["", "PRI * HTTP/2.0\r\n", "\r\n", "GET /hello HTTP/1.1\r\nHost: a\r\n"] {
        let start = Instant::now();
        let connect = |_| {
            let mut client = siege.target.connect();
            client.send(words);
            client
        };
        let silent: Vec<Client> = (0..PLACES).map(connect).collect();
        siege.target_answers();
        let took = start.elapsed();
        assert!(took >= patience, "{took:?}: nobody held the places");
        assert!(took < patience + LINGER + SLACK, "{took:?}");
        drop(silent);
    }
    siege.end();
}

each_kind! { HTTP: slow_bodies_hold_all_places_for_a_short_time_only }
fn slow_bodies_hold_all_places_for_a_short_time_only(kind: Kind) {
    let siege = Siege::begin(kind, &format!("timeout = \"500ms\"\nmax-connections = {PLACES}"));
    let start = Instant::now();
    let head = post("Content-Length: 1000000\r\n\r\n");
    let slow = Dripping::start(&siege.target, PLACES, &head);
    siege.neighbour_is_answered();
    siege.target_answers();
    let took = start.elapsed();
    assert!(took < Duration::from_millis(500) + LINGER + SLACK, "{took:?}");
    slow.end(408);

    // A guest that has begun to answer is cut off, and one that wants no body does not wait.
    for (target, status) in [("/echo", 200), ("/ignore-body", 200), ("/status?404", 404)] {
        let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx");
        let connect = |_| {
            let mut http = siege.target.http();
            http.send(&head);
            http
        };
        let silent: Vec<Http> = (0..PLACES).map(connect).collect();
        siege.target_answers();
        for mut http in silent {
            assert_eq!(http.response().status, status);
        }
    }
    siege.end();
}

/// A client whose kernel takes little of what it does not read.
fn narrow(address: &Address) -> Client {
    let client = address.connect();
    sockopt::set_socket_recv_buffer_size(&client, 4096).expect("set SO_RCVBUF");
    client
}

/// Reads a byte of each now and then.
fn read_bytes(mut clients: Vec<Client>, is_over: &AtomicBool) {
    for client in &clients {
        let short = Some(Duration::from_millis(1));
        sockopt::set_socket_timeout(client, Timeout::Recv, short).expect("set a timeout");
    }
    while !is_over.load(Relaxed) {
        for client in &mut clients {
            let _ = client.read(&mut [0]);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

each_kind! { HTTP: clients_that_read_slowly_or_not_at_all_hold_their_places_for_a_time }
fn clients_that_read_slowly_or_not_at_all_hold_their_places_for_a_time(kind: Kind) {
    let places = 40;
    let siege = Siege::begin(
        kind,
        &format!("timeout = \"1s\"\nkeep-alive = \"1s\"\nmax-connections = {places}"),
    );
    for target in ["/big?1000000000", "/sized?1000000000"] {
        let ask = |_| {
            let mut client = narrow(&siege.target);
            client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            client
        };
        let mut clients: Vec<Client> = (0..places).map(ask).collect();
        siege.neighbour_is_answered();
        // Half of them read a byte now and then.
        let slow = clients.split_off(places / 2);
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| read_bytes(slow, &is_over));
            let mut http = siege.target.http();
            http.ask("GET", "/hello");
            let response = http.try_response();
            is_over.store(true, Relaxed);
            assert_eq!(response.map(|response| response.status), Ok(200));
        });
        drop(clients);
    }

    // Guests that are done with their answer long before the client has it: from what the kernel
    // takes at once to what it does not.
    let ask = |n: usize| {
        let mut client = narrow(&siege.target);
        let size = n * 150_000;
        client.send(format!("GET /sized?{size} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client
    };
    let clients: Vec<Client> = (0..places).map(ask).collect();
    siege.target_answers();
    siege.host.expect_in_flight(0);
    drop(clients);
    siege.end();
}

each_kind! { HTTP: requests_whose_answers_nobody_reads_are_not_taken_without_end }
/// The host stops to read, and to answer, when nobody takes the answers.
fn requests_whose_answers_nobody_reads_are_not_taken_without_end(kind: Kind) {
    let siege = Siege::begin(kind, "timeout = \"5s\"");
    for target in ["/sized?1000", "/trap", "/big?300000", "/big?1000000000"] {
        let mut client = narrow(&siege.target);
        let patience = Duration::from_millis(500);
        sockopt::set_socket_timeout(&client, Timeout::Send, Some(patience)).expect("set a timeout");
        let requests = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n").repeat(100);
        let mut sent = 0;
        while sent < 64 * MIB {
            match client.write(requests.as_bytes()) {
                Ok(count) => sent += count,
                Err(_) => break,
            }
        }
        assert!(sent < 32 * MIB, "{sent} bytes of requests to {target}");
        siege.neighbour_is_answered();
        client.vanish();
    }
    siege.end();
}

each_kind! { HTTP: half_a_request_behind_another_does_not_hold_up_its_answer }
/// One byte of the next request must not keep the host from sending the answer to this one.
fn half_a_request_behind_another_does_not_hold_up_its_answer(kind: Kind) {
    let siege = Siege::begin(kind, "");
    let mut http = siege.target.http();
    http.send("GET /big?100000000 HTTP/1.1\r\nHost: a\r\n\r\nG");
    let mut size = 0;
    http.next_head().expect("a head");
    loop {
        match http.chunk().expect("a chunk").len() {
            0 => break,
            count => size += count,
        }
    }
    assert_eq!(size, 100_000_000);
    drop(http);
    siege.end();
}

each_kind! { HTTP: a_connection_may_break_off_anywhere }
fn a_connection_may_break_off_anywhere(kind: Kind) {
    let exchanges = [
        NEXT.to_owned(),
        post("Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n"),
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 20\r\n\r\n01234567890123456789".to_owned(),
        format!("HEAD /big?100000 HTTP/1.1\r\nHost: a\r\n\r\n{NEXT}"),
    ];
    let siege = Siege::begin(kind, "");
    for sent in &exchanges {
        for cut in 0..=sent.len() {
            let start = &sent.as_bytes()[..cut];
            let connect = || {
                let mut client = siege.target.connect();
                client.send(start);
                client
            };
            // With a reset, and by closing.
            connect().vanish();
            drop(connect());
            // What was sent may be read, and answered, first.
            let client = connect();
            client.hears_anything_within(Duration::from_millis(1));
            client.vanish();
        }
    }
    // In the midst of the answer.
    for count in 0..300 {
        let mut client = siege.target.connect();
        client.send("GET /big?200000 HTTP/1.1\r\nHost: a\r\n\r\n");
        client.read_exact(&mut vec![0; count * 10]).expect("an answer");
        client.vanish();
    }
    siege.end();
}

each_kind! { HTTP: thousands_of_connections_come_and_go }
fn thousands_of_connections_come_and_go(kind: Kind) {
    const EACH: usize = 500;
    let siege = Siege::begin(kind, "");
    thread::scope(|scope| {
        let target = &siege.target;
        scope.spawn(|| (0..EACH).for_each(|_| drop(target.connect())));
        scope.spawn(|| (0..EACH).for_each(|_| target.connect().vanish()));
        scope.spawn(|| {
            for _ in 0..EACH {
                let mut client = target.connect();
                client.send("GET /hello HTTP/1.1\r\n");
                client.vanish();
            }
        });
        scope.spawn(|| (0..EACH).for_each(|_| target.get("/hello").expect(200, "hello\n")));
    });
    // More at a time than the handler has places.
    let open: Vec<Client> = (0..600).map(|_| siege.target.connect()).collect();
    siege.neighbour_is_answered();
    drop(open);
    siege.end();
}
