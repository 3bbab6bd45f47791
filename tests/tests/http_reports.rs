//! What was reported of other servers of HTTP, and must not hold here.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use harness::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, Frames, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, PREFACE,
    RST_STREAM, field, frame, get, head, post, settings, window_update,
};
use harness::{
    Address, Client, End, Exchange, Host, Http, Kind, PATIENCE, Response, World, curl, each_kind, eventually,
};

/// Nothing but the end of its answer ends a guest.
const WITHOUT_END: &str = "timeout = \"infinity\"\ncpu-time = \"infinity\"";

/// Less than what a client would wait for in vain, and much more than an answer takes on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(10);

/// The number of the `n`th stream.
fn stream(n: u32) -> u32 {
    2 * n + 1
}

/// What came on the streams of a connection of HTTP/2, in whatever order.
struct Streams {
    connection: Frames,
    came: BTreeMap<u32, Came>,
    /// Those whose answers are not read: they get no window.
    unread: Vec<u32>,
}

#[derive(Debug, Default)]
struct Came {
    is_ok: bool,
    body: Vec<u8>,
    is_whole: bool,
    is_reset: bool,
}

impl Streams {
    fn new(connection: Frames) -> Self {
        Self {
            connection,
            came: BTreeMap::new(),
            unread: Vec::new(),
        }
    }

    /// Waits until one of these has ended, well or not: which.
    #[track_caller]
    fn wait(&mut self, streams: &[u32]) -> u32 {
        loop {
            let has_ended = |stream: &&u32| {
                let came = self.came.get(stream);
                came.is_some_and(|came| came.is_whole || came.is_reset)
            };
            if let Some(stream) = streams.iter().find(has_ended) {
                return *stream;
            }
            match self.connection.next_frame() {
                Ok(frame) if frame.kind != GOAWAY => self.take(&frame),
                end => panic!("the connection ended before {streams:?}: {end:?}"),
            }
        }
    }

    fn take(&mut self, frame: &Frame) {
        let is_read = !self.unread.contains(&frame.stream);
        let came = self.came.entry(frame.stream).or_default();
        match frame.kind {
            // RFC 7541: the 8th entry of the table, after changes of its size.
            HEADERS => came.is_ok = frame.payload.iter().find(|b| **b & 0xe0 != 0x20) == Some(&0x88),
            DATA => {
                came.body.extend(&frame.payload);
                let count = frame.payload.len() as u32;
                if count > 0 && is_read {
                    let more = [window_update(0, count), window_update(frame.stream, count)];
                    // The host may have no more interest in it.
                    let _ = self.connection.pour(&more.concat());
                }
            }
            RST_STREAM => came.is_reset = true,
            _ => {}
        }
        let is_answer = [HEADERS, DATA].contains(&frame.kind);
        came.is_whole |= is_answer && frame.flags & END_STREAM != 0;
    }

    /// The answer on `stream` is whole, has the status 200, and this body.
    #[track_caller]
    fn expect(&mut self, stream: u32, body: impl AsRef<[u8]>) {
        self.wait(&[stream]);
        let came = self.came.remove(&stream).expect("it has ended");
        assert!(came.is_ok && came.is_whole, "stream {stream}: {came:?}");
        assert!(came.body == body.as_ref(), "stream {stream}: another body");
    }
}

/// A request whose answer has no body, and whose guest writes one without end.
const VOID: [(&str, &str, u16); 2] = [("HEAD", "/endless?200", 200), ("GET", "/endless?304", 304)];

/// A client that comes now gets its answer, and the requests before it their lines in the log.
#[track_caller]
fn expect_places(host: &Host, address: &Address, (method, target, status): (&str, &str, u16), count: usize) {
    eventually("there is a place for one more request", || {
        thread::sleep(Duration::from_millis(50));
        address.get("/hello").status == 200
    });
    let path = target.split('?').next().unwrap_or_default();
    let line = format!("{method} {path} {status}");
    eventually(&format!("{count} lines say {line:?}"), || {
        host.log.count(&line) == count
    });
    host.expect_in_flight(0);
}

each_kind! { HTTP: a_guest_does_not_write_on_and_on_when_its_answer_has_no_body }
fn a_guest_does_not_write_on_and_on_when_its_answer_has_no_body(kind: Kind) {
    let world = World::new(kind);
    let settings = format!("max-connections = 4\n{WITHOUT_END}");
    for address in world.web_sockets("web", &settings) {
        let host = world.start(&[]);
        for void in VOID {
            let ask = |_| {
                let mut http = address.http();
                http.ask(void.0, void.1);
                assert_eq!(http.next_head().expect("a head").status, void.2);
                http
            };
            let clients: Vec<Http> = (0..4).map(ask).collect();
            expect_places(&host, &address, void, 4);
            drop(clients);
            // And when they leave at once.
            (0..4).map(ask).for_each(drop);
            expect_places(&host, &address, void, 8);
        }
    }
}

each_kind! { HTTP: a_guest_does_not_write_on_and_on_over_http_2_when_its_answer_has_no_body }
fn a_guest_does_not_write_on_and_on_over_http_2_when_its_answer_has_no_body(kind: Kind) {
    let world = World::new(kind);
    let settings = format!("max-connections = 4\n{WITHOUT_END}");
    let address = world.web_port("web", &settings);
    let host = world.start(&[]);
    for void in VOID {
        let (method, target, status) = void;
        for count in [4, 8] {
            let mut connection = address.frames(&[]);
            for n in 0..4 {
                let block = head(method, target, &[]);
                connection.send(frame(HEADERS, END_HEADERS | END_STREAM, stream(n), block));
                assert_eq!(connection.answer(stream(n)), Ok((status, Vec::new())));
            }
            // The first time the client stays, the second it leaves.
            if count == 4 {
                expect_places(&host, &address, void, count);
            }
            drop(connection);
            expect_places(&host, &address, void, count);
        }
    }
}

each_kind! { HTTP: a_guest_may_write_all_of_an_answer_to_head }
/// Nothing of it is an error: neither for the host nor for the guest, which would tell stderr.
fn a_guest_may_write_all_of_an_answer_to_head(kind: Kind) {
    let targets = ["/hello", "/big?1000000", "/sized?1000000", "/status?404"];
    let world = World::new(kind);
    let address = world.web_port("web", "");
    let host = world.start(&[]);
    let mut http = address.http();
    for target in targets {
        let status = http.head(target).status;
        let path = target.split('?').next().unwrap_or_default();
        host.log.expect(&format!("HEAD {path} {status} ("));
    }
    host.expect_in_flight(0);
    let lines = host.log.lines();
    let of_requests = lines.iter().filter(|line| line.contains("web 127.0.0.1"));
    assert_eq!(of_requests.count(), targets.len(), "{lines:?}");
}

each_kind! { HTTP: uploads_that_wait_for_their_guests_leave_room_for_those_of_others }
/// The window of a connection (RFC 9113, 5.2.1) is shared by its streams.
fn uploads_that_wait_for_their_guests_leave_room_for_those_of_others(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", WITHOUT_END);
    let _host = world.start(&[]);
    for count in [1, 10, 99] {
        eprintln!("{count} uploads wait");
        let mut client = address.http2();
        client.expect_hello();
        let mut stuck: Vec<(Exchange, usize)> = (0..count).map(|_| (client.post("/sleep?600000"), 0)).collect();
        eventually("each has sent all that there is a window for", || {
            let mut more = 0;
            for (request, sent) in &mut stuck {
                let count = request.send_what_fits((1 << 20) - *sent);
                *sent += count;
                more += count;
            }
            client.expect_hello();
            // No window is smaller than the one that a connection begins with.
            more == 0 && stuck.iter().all(|(_, sent)| *sent >= 65_535)
        });
        let body: Vec<u8> = (0..=255).cycle().take(256 * 400).collect();
        for _ in 0..3 {
            let mut other = client.post("/echo");
            other.send(&body);
            other.finish();
            assert!(other.answer() == (200, body.clone()), "the answer of another");
        }
        for (request, _) in &mut stuck {
            assert!(!request.has_ended());
        }
    }
}

each_kind! { HTTP: an_answer_that_its_client_does_not_take_is_reset_alone }
fn an_answer_that_its_client_does_not_take_is_reset_alone(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "timeout = \"2s\"");
    let host = world.start(&[]);
    let mut streams = Streams::new(address.frames(&[(INITIAL_WINDOW_SIZE, 100)]));
    // Their guests still have something to say. (What only the host holds stays as long as the connection.)
    streams.unread = vec![1, 3];
    streams.connection.send(get(1, "/big?1000000"));
    streams.connection.send(get(3, "/big?2000000"));
    let start = Instant::now();
    let mut last = 5;
    let mut ended = Vec::new();
    while ended.len() < 2 {
        assert!(start.elapsed() < PATIENCE, "only {ended:?} were reset");
        // Another request is under way all the time.
        last += 2;
        streams.connection.send(get(last, "/sleep?500"));
        loop {
            let stream = streams.wait(&[1, 3, last]);
            if stream == last {
                streams.expect(last, "slept 500 ms\n");
                break;
            }
            let came = streams.came.remove(&stream).expect("it has ended");
            assert!(came.is_reset && came.body.len() == 100, "{came:?}");
            ended.push(stream);
        }
    }
    streams.connection.send(get(last + 2, "/hello"));
    streams.expect(last + 2, "hello\n");
    host.expect_in_flight(0);
}

each_kind! { HTTP: an_upload_in_small_pieces_does_not_end_its_connection }
fn an_upload_in_small_pieces_does_not_end_its_connection(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "");
    let _host = world.start(&[]);
    let mut streams = Streams::new(address.frames(&[]));
    let pieces: Vec<Vec<u8>> = (0..3000).map(|n| vec![n as u8; 1 + n % 10]).collect();
    streams.connection.send(post(1, "/echo-after?1500"));
    let sent = pieces.iter().map(|piece| frame(DATA, 0, 1, piece));
    streams.connection.send(sent.collect::<Vec<_>>().concat());
    streams.connection.send(get(3, "/hello"));
    streams.expect(3, "hello\n");
    streams.connection.send(frame(DATA, END_STREAM, 1, "end"));
    streams.expect(1, [pieces.concat(), b"end".to_vec()].concat());
    streams.connection.send(get(5, "/hello"));
    streams.expect(5, "hello\n");
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
    let world = World::new(kind);
    let address = world.web_port("web", "");
    let host = world.start(&[]);
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

each_kind! { HTTP: an_answer_over_half_a_request_says_that_it_is_the_last }
/// RFC 9112, 9.6: a client must not send another request on a connection that is about to close.
fn an_answer_over_half_a_request_says_that_it_is_the_last(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let _host = world.start(&[]);
        for length in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
            let head = format!("POST /ignore-body HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n");
            for some in ["", "4\r\nsome\r\n"] {
                let mut http = address.http();
                // At once: the host may be done with it before more comes.
                http.send(format!("{head}{some}"));
                let response = http.response();
                response.expect(200, "ignored\n");
                response.expect_last();
                http.finish();
                http.expect_closed();
            }
        }
    }
}

each_kind! { HTTP: an_answer_over_a_whole_request_that_was_not_read_is_not_the_last }
fn an_answer_over_a_whole_request_that_was_not_read_is_not_the_last(kind: Kind) {
    let bodies = [
        "Content-Length: 4\r\n\r\nmore".to_owned(),
        format!("Content-Length: 4000\r\n\r\n{}", "x".repeat(4000)),
        "Transfer-Encoding: chunked\r\n\r\n4\r\nmore\r\n0\r\n\r\n".to_owned(),
    ];
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let _host = world.start(&[]);
        for body in &bodies {
            let mut http = address.http();
            for _ in 0..20 {
                http.send(format!("POST /ignore-body HTTP/1.1\r\nHost: a\r\n{body}"));
                let response = http.response();
                response.expect(200, "ignored\n");
                assert_eq!(response.header("connection"), None, "{body}");
            }
            http.get("/hello").expect(200, "hello\n");
        }
    }
}

each_kind! { HTTP: a_length_told_before_does_not_make_chunks_the_last }
/// RFC 9112, 6.1 is about one request with both kinds of length, not about one after the other.
fn a_length_told_before_does_not_make_chunks_the_last(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let _host = world.start(&[]);
        let mut http = address.http();
        for _ in 0..3 {
            let response = http.post("/echo-late", "more");
            response.expect(200, "4 0d1be7a2c400c080\n");
            assert_eq!(response.header("connection"), None);
            http.begin("/echo-late", None);
            http.send_chunk("more");
            http.send_chunk("");
            let response = http.response();
            response.expect(200, "4 0d1be7a2c400c080\n");
            assert_eq!(response.header("connection"), None);
        }
        // Both at once.
        http.send(
            "POST /echo-late HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\
             Transfer-Encoding: chunked\r\n\r\n4\r\nmore\r\n0\r\n\r\n",
        );
        let response = http.response();
        response.expect(200, "4 0d1be7a2c400c080\n");
        response.expect_last();
        http.expect_closed();
    }
}

each_kind! { HTTP: what_looks_like_a_second_length_is_none }
/// Nor do a body, trailers or requests that come at once make one with two kinds of length.
fn what_looks_like_a_second_length_is_none(kind: Kind) {
    let with_length = "POST /echo-late HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nmore";
    let in_chunks = "POST /echo-late HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let line = "\r\nContent-Length: 4\r\n";
    let world = World::new(kind);
    let address = world.web_port("web", "");
    let _host = world.start(&[]);
    let mut http = address.http();
    for (sent, answers) in [
        (format!("{with_length}{in_chunks}0\r\n\r\n"), 2),
        (format!("{in_chunks}0\r\n\r\n{with_length}"), 2),
        (format!("{in_chunks}{:x}\r\n{line}\r\n0\r\n\r\n", line.len()), 1),
        (format!("{in_chunks}0{line}\r\n"), 1),
    ] {
        http.send(&sent);
        for _ in 0..answers {
            let response = http.response();
            response.expect_status(200);
            assert_eq!(response.header("connection"), None, "{sent:?}");
        }
    }
    http.get("/hello").expect(200, "hello\n");
}

each_kind! { HTTP: head_is_told_the_length_that_get_would_have }
fn head_is_told_the_length_that_get_would_have(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "");
    let host = world.start(&[]);
    let mut http = address.http();
    // The guest writes the five bytes, as for GET; or none, and traps when the host says that they
    // are missing.
    for target in ["/sized?5", "/unwritten?5"] {
        for _ in 0..50 {
            let response = http.head(target);
            assert_eq!(response.status, 200, "{target}");
            assert_eq!(response.header("content-length"), Some("5"), "{target}");
        }
        let (path, _) = target.split_once('?').expect("a query");
        let line = format!("HEAD {path} 200 (");
        eventually("all went well, says the log", || host.log.count(&line) == 50);
    }
    let lines = host.log.lines();
    let of_guests = lines.iter().filter(|line| line.contains("web 127.0.0.1"));
    assert_eq!(of_guests.count(), 100, "{lines:?}");
    // To GET, an answer without them is not whole.
    http.ask("GET", "/unwritten?5");
    let is_whole = |response: Response| response.status == 200 && response.cut.is_none();
    assert!(!http.try_response().is_ok_and(is_whole));
    host.expect_in_flight(0);
}

/// A client that waits for 100 before it sends these four bytes.
fn waiting(address: &Address, target: &str) -> Http {
    let mut http = address.http();
    http.send(format!(
        "POST {target} HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n"
    ));
    http
}

each_kind! { HTTP: a_client_that_waits_for_100_waits_for_nothing_else }
/// RFC 9110, 10.1.1.
fn a_client_that_waits_for_100_waits_for_nothing_else(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let _host = world.start(&[]);
        for target in ["/hello", "/ignore-body", "/status?404", "/sized?1000"] {
            let start = Instant::now();
            let response = waiting(&address, target).response();
            assert!([200, 404].contains(&response.status), "{target}: {response:?}");
            assert!(start.elapsed() < AT_ONCE, "{target}");
        }
        for (target, told) in [
            ("/echo-late", "4 0d1be7a2c400c080\n"),
            ("/echo-after?100", "more"),
            ("/echo", "more"),
            ("/splice", "more"),
            // The answer has begun, and the guest still wants the body: the client sends it if told to.
            ("/echo-begun?300", "before\nmore"),
        ] {
            let mut http = waiting(&address, target);
            http.response().expect(100, "");
            http.send("more");
            http.response().expect(200, told);
            http.get("/hello").expect(200, "hello\n");
        }
    }
}

each_kind! { HTTP: curl_need_not_wait_for_100 }
fn curl_need_not_wait_for_100(kind: Kind) {
    let world = World::new(kind);
    let address = world.web_port("web", "");
    let _host = world.start(&[]);
    for size in [4, 100_000, 2 << 20] {
        let body = vec![b'x'; size];
        let file = world.path("body");
        std::fs::write(&file, &body).expect("write a file");
        let data = format!("@{}", file.display());
        for (target, told) in [
            ("/ignore-body", b"ignored\n".to_vec()),
            ("/echo-after?10", body.clone()),
            ("/echo", body.clone()),
            ("/echo-begun?300", [b"before\n", &body[..]].concat()),
        ] {
            let start = Instant::now();
            let url = address.url(target);
            // Without 100, curl waits for 15 seconds before it sends the body.
            let got = curl(&[
                "--expect100-timeout",
                "15",
                "--header",
                "Expect: 100-continue",
                "--data-binary",
                &data,
                &url,
            ]);
            assert!(got == told, "{target} {size}: another answer");
            assert!(start.elapsed() < AT_ONCE, "{target} {size}");
        }
    }
}

/// The scheme that the guest is told, for a request with these headers.
#[track_caller]
fn scheme(address: &Address, headers: &str) -> String {
    let mut http = address.http();
    http.send(format!("GET /head HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
    let text = http.response().text();
    let line = text.lines().find_map(|line| line.strip_prefix(":scheme: "));
    line.unwrap_or_else(|| panic!("no scheme: {text}")).to_owned()
}

each_kind! { HTTP: a_trusted_proxy_may_say_https_in_every_way_that_there_is }
/// RFC 7239, 4 and 5.4; of `X-Forwarded-Proto`, too, the first entry is that of the client.
fn a_trusted_proxy_may_say_https_in_every_way_that_there_is(kind: Kind) {
    let secure = [
        "X-Forwarded-Proto: https\r\n",
        "X-Forwarded-Proto: HTTPS\r\n",
        "X-Forwarded-Proto: Https\r\n",
        "X-Forwarded-Proto: https, http\r\n",
        "X-Forwarded-Proto: https,http\r\n",
        "X-Forwarded-Proto: HTTPS , http, http\r\n",
        "X-Forwarded-Proto:  https \t\r\n",
        "X-Forwarded-Proto: https\r\nX-Forwarded-Proto: http\r\n",
        "Forwarded: proto=https\r\n",
        "Forwarded: for=1.2.3.4;proto=https;host=x\r\n",
        "Forwarded: for=1.2.3.4; proto=https; host=x\r\n",
        "Forwarded: Proto=\"https\"\r\n",
        "forwarded: PROTO=HTTPS\r\n",
        "Forwarded: for=\"[2001:db8::1]:80\";proto=https, for=5.6.7.8;proto=http\r\n",
        "Forwarded: for=\"a;proto=http,\\\"b\";proto=https\r\n",
        "Forwarded: for=1.2.3.4;proto=https\r\nForwarded: for=5.6.7.8;proto=http\r\n",
        "X-Forwarded-Proto: https\r\nForwarded: proto=http\r\n",
    ];
    let plain = [
        "",
        "X-Forwarded-Proto: http\r\n",
        "X-Forwarded-Proto: \r\n",
        "X-Forwarded-Proto: httpss\r\n",
        "X-Forwarded-Proto: wss\r\n",
        "X-Forwarded-Proto: http, https\r\n",
        "X-Forwarded-Proto: http\r\nX-Forwarded-Proto: https\r\n",
        "X-Forwarded-Proto: http\r\nForwarded: proto=https\r\n",
        "X-Forwarded-Proto: https http\r\n",
        "X-Forwarded-Proto: \u{e9}https\r\n",
        "Forwarded: for=1.2.3.4\r\n",
        "Forwarded: for=1.2.3.4;proto=http, for=5.6.7.8;proto=https\r\n",
        "Forwarded: for=1.2.3.4;proto=http\r\nForwarded: for=5.6.7.8;proto=https\r\n",
        "Forwarded: for=\"1.2.3.4;proto=https\"\r\n",
        "Forwarded: for=\"a,proto=https\"\r\n",
        "Forwarded: xproto=https\r\n",
        "Forwarded: proto=httpsx\r\n",
        "Forwarded: https\r\n",
    ];
    let world = World::new(kind);
    let modes = ["trust", "set", "off"];
    let addresses = modes.map(|mode| world.web_port(mode, &format!("forwarded-for = \"{mode}\"")));
    let _host = world.start(&[]);
    let [trust, set, off] = &addresses;
    for headers in secure {
        assert_eq!(scheme(trust, headers), "https", "{headers:?}");
        for address in [set, off] {
            assert_eq!(scheme(address, headers), "http", "{headers:?}");
        }
    }
    for headers in plain {
        assert_eq!(scheme(trust, headers), "http", "{headers:?}");
    }
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
    let world = World::new(kind);
    let address = world.web_port("web", "max-connections-per-source = 1");
    let _host = world.start(&[]);
    let mut http = address.http_from(FIRST);
    for _ in 0..20 {
        http.head("/endless?200").expect_status(200);
        http.get("/hello").expect(200, "hello\n");
    }
}
