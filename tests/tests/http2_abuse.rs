//! Clients that abuse HTTP/2: their neighbours are answered, the host's memory stays bounded, and
//! the host ends them, or is done with them when their time is up.

use std::io::{ErrorKind, Write};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use harness::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PING, PREFACE,
    PRIORITY, PUSH_PROMISE, RST_STREAM, SETTINGS, field, frame, get, head, post, reset, settings, stream,
    window_update,
};
use harness::{Address, Client, End, Kind, PATIENCE, Siege, each_kind};
use rustix::net::sockopt::{self, Timeout};

/// What a deadline may be late by.
const SLACK: Duration = Duration::from_secs(2);

/// How long the host may take to close a connection.
const GRACE: Duration = Duration::from_secs(2);

/// How long a connection may be kept, after its end, for a client that goes on sending.
const LINGER: Duration = Duration::from_secs(2);

/// The largest window there is (RFC 9113, 6.9.1), and how far it is from the one that is given.
const WINDOW: u32 = (1 << 31) - 1;
const WIDEN: u32 = WINDOW - 65_535;

/// Sends what `more` makes until the host ends the connection: for how long. What the host says is
/// read only if `reads`; else it takes until the host reads no more, either.
fn flood(connection: &mut Frames, reads: bool, mut more: impl FnMut() -> Vec<u8>) -> Duration {
    let start = Instant::now();
    let has_ended = Arc::new(AtomicBool::new(false));
    let reading = reads.then(|| {
        let (mut second, has_ended) = (connection.second(), has_ended.clone());
        thread::spawn(move || {
            second.read_until_end(|_| {});
            has_ended.store(true, Relaxed);
        })
    });
    let mut rest = Vec::new();
    let mut sent = 0;
    while !has_ended.load(Relaxed) && start.elapsed() < PATIENCE {
        if sent == rest.len() {
            (rest, sent) = (more(), 0);
        }
        match connection.write(&rest[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => break,
        }
    }
    let took = start.elapsed();
    connection.hang_up();
    if let Some(reading) = reading {
        let _ = reading.join();
    }
    took
}

/// A connection whose client does not wait for long when the host takes no more.
fn impatient(address: &Address, own: &[(u16, u32)]) -> Frames {
    let connection = address.frames(own);
    let short = Some(Duration::from_millis(50));
    sockopt::set_socket_timeout(&*connection, Timeout::Send, short).expect("set a timeout");
    connection
}

/// Calls of `piece` with the numbers of one stream after the other, a few at a time.
fn each_stream(piece: impl Fn(u32) -> Vec<u8>) -> impl FnMut() -> Vec<u8> {
    let mut streams = (1..).step_by(2);
    move || streams.by_ref().take(500).flat_map(&piece).collect()
}

/// As much of `piece` as one write takes.
fn much(piece: &[u8]) -> Vec<u8> {
    piece.repeat(64 * 1024 / piece.len())
}

/// The reason of the GOAWAY with which the host ended the connection.
fn goodbye(connection: &mut Frames) -> Option<u8> {
    let mut reason = None;
    loop {
        match connection.next_frame() {
            Ok(frame) if frame.kind == GOAWAY => reason = frame.payload.get(7).copied(),
            Ok(_) => {}
            Err(End::TimedOut) => panic!("the connection goes on"),
            Err(End::Closed | End::Reset) => return reason,
        }
    }
}

each_kind! { HTTP: the_frames_are_written_well }
fn the_frames_are_written_well(kind: Kind) {
    let siege = Siege::begin(kind, "");
    let mut connection = siege.target.frames(&[]);
    connection.send(get(1, "/hello"));
    assert_eq!(connection.answer(1), Ok((200, b"hello\n".to_vec())));
    connection.send(get(3, "/nothing"));
    assert_eq!(connection.answer(3).unwrap().0, 404);
    connection.send(get(5, "/status?418"));
    assert_eq!(connection.answer(5).unwrap().0, 418);
    connection.send(post(7, "/echo"));
    connection.send(frame(DATA, END_STREAM, 7, "more"));
    assert_eq!(connection.answer(7), Ok((200, b"more".to_vec())));
    drop(connection);
    siege.end();
}

each_kind! { HTTP: rapid_resets_end_the_connection }
/// CVE-2023-44487: a request that is taken back at once costs the client nothing.
fn rapid_resets_end_the_connection(kind: Kind) {
    for (reads, target) in [(true, "/sleep?1000"), (false, "/sleep?1000"), (true, "/hello")] {
        let siege = Siege::begin(kind, "");
        let mut connection = impatient(&siege.target, &[]);
        let resets = |stream| [get(stream, target), reset(stream)].concat();
        let took = flood(&mut connection, reads, each_stream(resets));
        assert!(took < LINGER + SLACK, "{target}: it took {took:?}");
        siege.neighbour_is_answered();
        let log = siege.end();
        let guests = log.matches("target 127").count();
        assert!(guests < 1000, "{guests} guests ran");
    }
}

each_kind! { HTTP: resets_that_the_client_provokes_end_the_connection }
/// The host resets each stream itself, because of what the client sends after the request.
fn resets_that_the_client_provokes_end_the_connection(kind: Kind) {
    type Provocation = (&'static str, fn(u32) -> Vec<u8>);
    let provocations: [Provocation; 6] = [
        ("no increment", |stream| {
            [get(stream, "/sleep?1000"), window_update(stream, 0)].concat()
        }),
        ("too large a window", |stream| {
            [get(stream, "/sleep?1000"), window_update(stream, WINDOW)].concat()
        }),
        ("a longer body than announced", |stream| {
            let head = head("POST", "/echo-late", &[("content-length", "1")]);
            [frame(HEADERS, END_HEADERS, stream, head), frame(DATA, 0, stream, "xx")].concat()
        }),
        ("a malformed header", |stream| {
            frame(HEADERS, END_HEADERS, stream, head("GET", "/hello", &[("X", "x")]))
        }),
        ("no path", |stream| {
            frame(HEADERS, END_HEADERS, stream, field(":method", "GET"))
        }),
        ("a stream after itself", |stream| {
            let payload = [&stream.to_be_bytes()[..], &[0]].concat();
            [get(stream, "/sleep?1000"), frame(PRIORITY, 0, stream, payload)].concat()
        }),
    ];
    let siege = Siege::begin(kind, "");
    for (name, provocation) in provocations {
        let mut connection = impatient(&siege.target, &[]);
        let took = flood(&mut connection, true, each_stream(provocation));
        assert!(took < LINGER + SLACK, "{name}: it took {took:?}");
    }
    siege.neighbour_is_answered();
    let log = siege.end();
    let guests = log.matches("target 127").count();
    assert!(guests < 10_000, "{guests} guests ran");
}

/// CVE-2024-27316: a head that never ends.
#[test]
fn continuations_without_end_end_the_connection() {
    let siege = Siege::begin(Kind::P2, "");
    for (name, payload) in [
        ("headers", field("x", "y".repeat(100))),
        ("large headers", field("x", "y".repeat(16_000))),
        ("nothing", vec![]),
        ("a byte", vec![0]),
        // RFC 7541, A: `accept-encoding`, and 6.3: a new size of the table.
        ("a header of the table", vec![0x90; 16_000]),
        ("sizes of the table", vec![0x20; 16_000]),
    ] {
        let mut connection = impatient(&siege.target, &[]);
        let start = head("GET", "/hello", &[]);
        connection.send(frame(HEADERS, END_STREAM, 1, start));
        let piece = much(&frame(CONTINUATION, 0, 1, payload));
        let took = flood(&mut connection, true, || piece.clone());
        assert!(took < LINGER + SLACK, "{name}: it took {took:?}");
    }
    siege.end();
}

each_kind! { HTTP: a_small_head_that_becomes_large_is_refused }
/// A kilobyte that says: four thousand times the largest header of the table.
fn a_small_head_that_becomes_large_is_refused(kind: Kind) {
    let siege = Siege::begin(kind, "");
    let mut connection = siege.target.frames(&[]);
    // RFC 7541, 6.2.1: a literal that is added to the table, where it is the 62nd entry.
    let mut entry = field("x-large", "y".repeat(4000));
    entry[0] = 0x40;
    for n in 0..100 {
        let mut block = head("GET", "/hello", &[]);
        if n == 0 {
            block.extend(&entry);
        }
        block.extend([0x80 | 62; 4000]);
        let _ = connection.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, stream(n), block));
    }
    let mut statuses = Vec::new();
    for n in 0..100 {
        match connection.answer(stream(n)) {
            Ok((status, _)) => statuses.push(status),
            Err(_) => break,
        }
    }
    assert!(statuses.iter().all(|status| *status == 431), "{statuses:?}");
    drop(connection);
    siege.end();
}

/// What is no request, and much of it.
fn pieces() -> [(&'static str, Vec<u8>); 10] {
    [
        ("pings", frame(PING, 0, 0, b"any ping")),
        ("answers to pings", frame(PING, ACK, 0, b"any pong")),
        // With this ping h2 ends connections.
        (
            "the last pong",
            frame(PING, ACK, 0, b"\x0b\x7b\xa2\xf0\x8b\x9b\xfe\x54"),
        ),
        (
            "settings",
            settings(&[(INITIAL_WINDOW_SIZE, 0), (INITIAL_WINDOW_SIZE, WINDOW)]),
        ),
        ("empty settings", settings(&[])),
        ("unknown settings", settings(&[(0xffff, 1); 100])),
        ("windows", window_update(1, 1)),
        ("priorities", frame(PRIORITY, 0, 1, [0, 0, 0, 3, 1])),
        ("unknown frames", frame(0xfa, 0xff, 0, [])),
        ("large unknown frames", frame(0xfa, 0xff, 0, [0; 10_000])),
    ]
}

#[test]
fn floods_of_frames_during_a_request_do_not_disturb() {
    let siege = Siege::begin(Kind::P2, "timeout = \"infinity\"");
    for (name, piece) in pieces() {
        eprintln!("{name}:");
        let is_over = AtomicBool::new(false);
        thread::scope(|scope| {
            for reads in [true, false] {
                let mut connection = impatient(&siege.target, &[]);
                connection.send(get(1, "/sleep?600000"));
                let (piece, is_over) = (much(&piece), &is_over);
                scope.spawn(move || {
                    let second = connection.second();
                    let more = || {
                        if is_over.load(Relaxed) {
                            second.hang_up();
                        }
                        piece.clone()
                    };
                    flood(&mut connection, reads, more)
                });
            }
            let answered = catch_unwind(AssertUnwindSafe(|| siege.neighbour_is_answered()));
            is_over.store(true, Relaxed);
            let took = answered.unwrap_or_else(|panic| resume_unwind(panic));
            assert!(took < SLACK, "{took:?}");
        });
    }
    siege.end();
}

#[test]
fn floods_of_frames_end_with_the_connections_time() {
    let siege = Siege::begin(Kind::P2, "head-timeout = \"300ms\"\nkeep-alive = \"300ms\"");
    for (name, piece) in pieces() {
        if !["pings", "settings", "unknown frames"].contains(&name) {
            // They are all the same to the clock.
            continue;
        }
        // Before the first request, and after it.
        for (reads, has_asked) in [(true, false), (false, true)] {
            let mut connection = impatient(&siege.target, &[]);
            if has_asked {
                connection.send(get(1, "/hello"));
                connection.answer(1).expect("an answer");
            }
            let piece = much(&piece);
            let took = flood(&mut connection, reads, || piece.clone());
            let most = Duration::from_millis(300) + GRACE + LINGER + SLACK;
            assert!(took < most, "{name}: {took:?}");
        }
    }
    siege.end();
}

each_kind! { HTTP: pings_that_are_not_read_keep_no_place }
/// The time of an idle connection ends, though something of it is always unread.
fn pings_that_are_not_read_keep_no_place(kind: Kind) {
    let siege = Siege::begin(kind, "keep-alive = \"500ms\"\nmax-connections = 4");
    let fill = |_| {
        let mut connection = impatient(&siege.target, &[]);
        sockopt::set_socket_recv_buffer_size(&*connection, 4096).expect("set SO_RCVBUF");
        connection.send(get(1, "/hello"));
        connection.answer(1).expect("an answer");
        // Until the host reads no more, because it cannot write.
        let pings = frame(PING, 0, 0, [0; 8]).repeat(10_000);
        while connection.write_all(&pings).is_ok() {}
        connection
    };
    let connections: Vec<Frames> = (0..4).map(fill).collect();
    siege.neighbour_is_answered();
    siege.target_answers();
    drop(connections);
    siege.end();
}

each_kind! { HTTP: windows_that_never_open_hold_requests_for_a_time_only }
fn windows_that_never_open_hold_requests_for_a_time_only(kind: Kind) {
    let siege = Siege::begin(kind, "timeout = \"500ms\"\nkeep-alive = \"500ms\"\nmax-connections = 8");
    for (windows, target) in [
        // None at all: the head comes, but no byte of the body. The window of the connection, too,
        // can be what lacks.
        (vec![(INITIAL_WINDOW_SIZE, 0)], "/hello"),
        (vec![(INITIAL_WINDOW_SIZE, 0)], "/big?1000000000"),
        (vec![], "/sized?100000"),
    ] {
        let mut connection = siege.target.frames(&windows);
        // As many as the handler answers at a time.
        let requests: Vec<u8> = (0..8).flat_map(|n| get(stream(n), target)).collect();
        connection.send(requests);
        let mut heads = 0;
        while heads < 8 {
            let frame = connection.next_frame().expect("a head for each");
            heads += usize::from(frame.kind == HEADERS);
        }
        // 503 while they hold all places.
        let start = Instant::now();
        while siege.target.get("/hello").status != 200 {
            assert!(
                start.elapsed() < PATIENCE,
                "{windows:?} {target}: they hold them for ever"
            );
            thread::sleep(Duration::from_millis(20));
        }
        let took = start.elapsed();
        let most = Duration::from_millis(500) + GRACE + SLACK;
        assert!(took < most, "{windows:?} {target}: {took:?}");
        siege.host.expect_in_flight(0);
        drop(connection);
    }
    siege.end();
}

each_kind! { HTTP: windows_that_open_by_a_byte_are_no_burden }
fn windows_that_open_by_a_byte_are_no_burden(kind: Kind) {
    let siege = Siege::begin(kind, "");
    let mut connection = siege.target.frames(&[(INITIAL_WINDOW_SIZE, 0)]);
    connection.send(get(1, "/sized?2000"));
    let open: Vec<u8> = window_update(1, 1).repeat(2000);
    connection.send(open);
    let (status, body) = connection.answer(1).expect("an answer");
    assert_eq!((status, body.len()), (200, 2000));
    drop(connection);
    siege.end();
}

each_kind! { HTTP: answers_that_nobody_reads_are_not_kept_without_end }
/// A window as wide as can be, and a client that does not read: what is kept for such a client is bounded.
fn answers_that_nobody_reads_are_not_kept_without_end(kind: Kind) {
    let siege = Siege::begin(kind, "timeout = \"5s\"");
    let connect = |_| {
        let mut connection = siege.target.frames(&[(INITIAL_WINDOW_SIZE, WINDOW)]);
        sockopt::set_socket_recv_buffer_size(&*connection, 4096).expect("set SO_RCVBUF");
        connection.send(window_update(0, WIDEN));
        // Each answer is less than what h2 keeps of a stream unless it is told otherwise.
        for n in 0..100 {
            connection.send(get(stream(n), "/sized?380000"));
        }
        siege.neighbour_is_answered();
        connection
    };
    let connections: Vec<Frames> = (0..10).map(connect).collect();
    siege.neighbour_is_answered();
    drop(connections);
    siege.end();
}

each_kind! { HTTP: bodies_that_nobody_reads_are_not_kept_without_end }
/// What comes of bodies that no guest reads is bounded by the windows that the host gives.
fn bodies_that_nobody_reads_are_not_kept_without_end(kind: Kind) {
    let siege = Siege::begin(kind, "timeout = \"3s\"");
    let connect = |_| {
        let mut connection = impatient(&siege.target, &[]);
        for n in 0..20 {
            connection.send(post(stream(n), "/sleep?600000"));
        }
        // Whether there is a window for it or not.
        for n in 0..20 {
            let piece = frame(DATA, 0, stream(n), vec![0; 16_384]);
            let _ = connection.write_all(&piece.repeat(64));
        }
        connection
    };
    let connections: Vec<Frames> = (0..10).map(connect).collect();
    siege.neighbour_is_answered();
    drop(connections);
    siege.end();
}

each_kind! { HTTP: more_requests_than_one_connection_may_have_are_refused }
fn more_requests_than_one_connection_may_have_are_refused(kind: Kind) {
    let siege = Siege::begin(kind, "timeout = \"2s\"\nmax-connections = 50");
    let mut connection = siege.target.frames(&[]);
    // The host allows 100 at a time, and the handler answers 50.
    let requests: Vec<u8> = (0..150).flat_map(|n| get(stream(n), "/sleep?600000")).collect();
    connection.send(requests);
    siege.neighbour_is_answered();
    let mut statuses = Vec::new();
    let mut refused = 0;
    while statuses.len() + refused < 150 {
        let frame = connection.next_frame().expect("a frame for each");
        match frame.kind {
            HEADERS => statuses.push(frame.stream),
            RST_STREAM => refused += 1,
            _ => {}
        }
    }
    // How many of them come late enough to find a place is a matter of time.
    assert!(statuses.len() >= 100, "{refused} refused");
    drop(connection);
    siege.end();
}

each_kind! { HTTP: what_breaks_the_rules_ends_the_connection }
fn what_breaks_the_rules_ends_the_connection(kind: Kind) {
    let connection_level: Vec<(&str, Vec<u8>)> = vec![
        ("data of no stream", frame(DATA, 0, 0, "x")),
        ("data of a stream that never was", frame(DATA, 0, 1, "x")),
        (
            "a head of no stream",
            frame(HEADERS, END_HEADERS, 0, head("GET", "/smuggled", &[])),
        ),
        (
            "a head of the host's own stream",
            frame(HEADERS, END_HEADERS, 2, head("GET", "/smuggled", &[])),
        ),
        ("streams that go back", [get(5, "/hello"), get(3, "/smuggled")].concat()),
        ("a frame that is too large", frame(DATA, 0, 1, vec![0; 16_385])),
        (
            "a frame that is much too large",
            [&[0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1], &[0; 100][..]].concat(),
        ),
        (
            "padding that is all there is",
            [post(1, "/echo-late"), frame(DATA, 8, 1, [255, 0, 0])].concat(),
        ),
        ("a promise", frame(PUSH_PROMISE, END_HEADERS, 1, [0, 0, 0, 2])),
        ("the end of a stream that never was", reset(1)),
        ("the end of no stream", reset(0)),
        ("a short ping", frame(PING, 0, 0, "short")),
        ("a ping of a stream", frame(PING, 0, 1, "12345678")),
        ("settings of a stream", frame(SETTINGS, 0, 1, [])),
        ("odd settings", frame(SETTINGS, 0, 0, [0; 5])),
        (
            "an acknowledgement with settings",
            frame(SETTINGS, ACK, 0, [0, 1, 0, 0, 0, 0]),
        ),
        (
            "a window that is too large",
            settings(&[(INITIAL_WINDOW_SIZE, 1 << 31)]),
        ),
        ("no window for the connection", window_update(0, 0)),
        ("too much window for the connection", window_update(0, WINDOW)),
        ("a continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, [])),
        (
            "something amid a head",
            [
                frame(HEADERS, 0, 1, head("GET", "/smuggled", &[])),
                frame(PING, 0, 0, [0; 8]),
            ]
            .concat(),
        ),
        (
            "the head of another amid a head",
            [frame(HEADERS, 0, 1, head("GET", "/smuggled", &[])), get(3, "/smuggled")].concat(),
        ),
        (
            "an index that is not there",
            frame(HEADERS, END_HEADERS, 1, [0xff, 0xff, 0x7f]),
        ),
        ("an index of zero", frame(HEADERS, END_HEADERS, 1, [0x80])),
        ("half a header", frame(HEADERS, END_HEADERS, 1, [0, 100, b'x'])),
        ("a number without end", frame(HEADERS, END_HEADERS, 1, [0xff; 100])),
        (
            "a table that is too large",
            frame(HEADERS, END_HEADERS, 1, [0x3f, 0xff, 0xff, 0xff, 0x07]),
        ),
        (
            "bad Huffman code",
            frame(HEADERS, END_HEADERS, 1, [0, 0x84, 0xff, 0xff, 0xff, 0xff, 0]),
        ),
        ("HTTP/1.1", b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n".to_vec()),
    ];
    let siege = Siege::begin(kind, "head-timeout = \"5s\"");
    for (name, broken) in &connection_level {
        // Another first frame than settings is broken, too.
        for start in [PREFACE.to_vec(), [PREFACE, &settings(&[])].concat()] {
            let mut client = siege.target.connect();
            client.send([&start[..], broken].concat());
            let answer = client.answer();
            assert_ne!(answer.end, End::TimedOut, "{name}");
            assert!(!answer.text().contains("408 Request"), "{name} was waited for");
        }
    }
    // The reason is told.
    let mut connection = siege.target.frames(&[]);
    connection.send(frame(DATA, 0, 0, "x"));
    assert_eq!(goodbye(&mut connection), Some(1));
    let log = siege.end();
    assert!(!log.contains("/smuggled"), "{log}");
}

each_kind! { HTTP: a_request_that_is_malformed_reaches_no_guest }
/// What a proxy would turn into two requests, or into another one, is none (RFC 9113, 8.1.1).
fn a_request_that_is_malformed_reaches_no_guest(kind: Kind) {
    let base = [
        (":method", "GET"),
        (":path", "/smuggled"),
        (":scheme", "http"),
        (":authority", "test"),
    ];
    let with = |more: &[(&'static str, &'static str)]| [&base[..], more].concat();
    let malformed = [
        with(&[("transfer-encoding", "chunked")]),
        with(&[("connection", "keep-alive")]),
        with(&[("keep-alive", "x")]),
        with(&[("upgrade", "h2c")]),
        with(&[("proxy-connection", "x")]),
        with(&[("te", "gzip")]),
        with(&[("X-Upper", "x")]),
        with(&[("x y", "x")]),
        with(&[("x:", "x")]),
        with(&[("", "x")]),
        with(&[("x\r\ny", "x")]),
        with(&[("x", "y\r\nz: a")]),
        with(&[("x", "y\nz: a")]),
        with(&[("x", "y\0")]),
        with(&[("content-length", "5")]),
        with(&[("content-length", "x")]),
        with(&[("content-length", "0"), ("content-length", "5")]),
        with(&[("host", "a"), ("host", "b")]),
        with(&[(":path", "/smuggled")]),
        with(&[("x", "y"), (":method", "GET")]),
        with(&[(":status", "200")]),
        with(&[(":unknown", "x")]),
        base[1..].to_vec(),
        vec![base[0], base[2], base[3]],
        vec![base[0], (":path", ""), base[2], base[3]],
        vec![base[0], (":path", "/smuggled HTTP/1.1\r\nx: y"), base[2], base[3]],
        vec![base[0], (":path", "/smuggled\0"), base[2], base[3]],
        vec![base[0], base[1], base[2], (":authority", "a b")],
        vec![base[0], base[1], base[2], (":authority", "a\r\nb: c")],
        vec![(":method", "GET /smuggled"), base[1], base[2], base[3]],
        vec![(":method", ""), base[1], base[2], base[3]],
    ];
    let siege = Siege::begin(kind, "");
    for fields in &malformed {
        let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
        let mut connection = siege.target.frames(&[]);
        connection.send(frame(HEADERS, END_HEADERS | END_STREAM, 1, block));
        // A request like any other, so that the answer to the first is not waited for.
        connection.send(get(3, "/hello"));
        let answer = connection.answer(1);
        let is_refused = answer.as_ref().map_or(true, |(status, _)| *status == 400);
        assert!(is_refused, "{fields:?}: {answer:?}");
    }
    let log = siege.end();
    let seen: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("/smuggled 200") || line.contains("/smuggled 404"))
        .collect();
    assert!(seen.is_empty(), "{seen:?}");
}

each_kind! { HTTP: a_body_of_another_length_than_it_said_is_no_whole_one }
/// RFC 9113, 8.1.1: the length that was told is the length.
fn a_body_of_another_length_than_it_said_is_no_whole_one(kind: Kind) {
    let siege = Siege::begin(kind, "");
    for (told, sent) in [("5", "more than that"), ("50", "less than that"), ("0", "some")] {
        let mut connection = siege.target.frames(&[]);
        let head = head("POST", "/echo-late", &[("content-length", told)]);
        connection.send(frame(HEADERS, END_HEADERS, 1, head));
        connection.send(frame(DATA, END_STREAM, 1, sent));
        let answer = connection.answer(1);
        let is_refused = answer.as_ref().map_or(true, |(status, _)| *status >= 400);
        assert!(is_refused, "{told}, {sent}: {answer:?}");
    }
    siege.end();
}

each_kind! { HTTP: slow_clients_hold_places_for_a_short_time_only }
fn slow_clients_hold_places_for_a_short_time_only(kind: Kind) {
    let patience = Duration::from_millis(500);
    let preface = [PREFACE, &settings(&[])].concat();
    let open = frame(HEADERS, 0, 1, head("GET", "/hello", &[]));
    let after = |start: &[u8], more: &[u8]| [start, more].concat();
    let shapes: Vec<(&str, Vec<u8>)> = vec![
        ("half a preface", PREFACE[..10].to_vec()),
        ("a preface", PREFACE.to_vec()),
        ("settings", preface.clone()),
        ("half a frame", after(&preface, &get(1, "/hello")[..20])),
        ("half a head", after(&preface, &open)),
        ("a body without end", after(&preface, &post(1, "/echo-late"))),
        (
            "an empty body without end",
            after(
                &preface,
                &[post(1, "/echo-late"), frame(DATA, 0, 1, "").repeat(50)].concat(),
            ),
        ),
        (
            "a request and half of the next",
            after(&preface, &[get(1, "/hello"), get(3, "/hello")[..20].to_vec()].concat()),
        ),
        (
            "a request and half a head",
            after(
                &preface,
                &[get(1, "/hello"), frame(HEADERS, 0, 3, head("GET", "/hello", &[]))].concat(),
            ),
        ),
    ];
    let places = shapes.len();
    let settings =
        format!("head-timeout = \"500ms\"\nkeep-alive = \"500ms\"\ntimeout = \"500ms\"\nmax-connections = {places}");
    let siege = Siege::begin(kind, &settings);
    let start = Instant::now();
    let connect = |words: &Vec<u8>| {
        let mut client = siege.target.connect();
        client.send(words);
        client
    };
    let silent: Vec<Client> = shapes.iter().map(|(_, words)| connect(words)).collect();
    siege.neighbour_is_answered();
    for ((name, _), mut client) in shapes.iter().zip(silent) {
        let end = client.answer().end;
        let took = start.elapsed();
        assert_ne!(end, End::TimedOut, "{name}");
        let most = patience * 2 + GRACE + SLACK;
        assert!(took < most, "{name}: {took:?}");
    }
    siege.end();
}

each_kind! { HTTP: a_connection_may_break_off_anywhere }
fn a_connection_may_break_off_anywhere(kind: Kind) {
    let exchange = [
        PREFACE,
        &settings(&[]),
        &post(1, "/echo"),
        &get(3, "/hello"),
        &frame(DATA, 0, 1, "more"),
        &window_update(1, 100),
        &frame(DATA, END_STREAM, 1, "and more"),
        &reset(1),
    ]
    .concat();
    let siege = Siege::begin(kind, "");
    for cut in 0..=exchange.len() {
        let connect = || {
            let mut client = siege.target.connect();
            client.send(&exchange[..cut]);
            client
        };
        connect().vanish();
        drop(connect());
        let client = connect();
        client.hears_anything_within(Duration::from_millis(1));
        client.vanish();
    }
    siege.end();
}

each_kind! { HTTP: frames_of_noise_do_no_harm }
/// Frames of every type and with every flag, of noise.
fn frames_of_noise_do_no_harm(kind: Kind) {
    let mut state = 1_u64;
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let siege = Siege::begin(kind, "head-timeout = \"1s\"\ntimeout = \"1s\"\nkeep-alive = \"1s\"");
    for _ in 0..2000 {
        let mut bytes = [PREFACE, &settings(&[])].concat();
        for _ in 0..noise() % 8 {
            let payload: Vec<u8> = (0..noise() % 40).map(|_| noise() as u8).collect();
            bytes.extend(frame(
                (noise() % 11) as u8,
                noise() as u8,
                (noise() % 6) as u32,
                payload,
            ));
        }
        let mut client = siege.target.connect();
        let _ = client.write_all(&bytes);
        client.hears_anything_within(Duration::from_millis(1));
    }
    siege.end();
}
