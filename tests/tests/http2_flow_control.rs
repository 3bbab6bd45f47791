//! Requests that share an HTTP/2 connection: none holds up another by what it does not send, take or read.

use std::collections::BTreeMap;
use std::time::Instant;

use harness::frames::{
    DATA, END_STREAM, Frame, Frames, GOAWAY, HEADERS, INITIAL_WINDOW_SIZE, RST_STREAM, frame, get, post,
    window_update,
};
use harness::{Exchange, Kind, PATIENCE, each_kind, eventually, web_host};

/// Nothing but the end of its answer ends a guest.
const WITHOUT_END: &str = "timeout = \"infinity\"\ncpu-time = \"infinity\"";

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

each_kind! { HTTP: uploads_that_wait_for_their_guests_leave_room_for_those_of_others }
/// The window of a connection (RFC 9113, 5.2.1) is shared by its streams.
fn uploads_that_wait_for_their_guests_leave_room_for_those_of_others(kind: Kind) {
    let (_world, address, _host) = web_host(kind, WITHOUT_END);
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
    let (_world, address, host) = web_host(kind, "timeout = \"2s\"");
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
    let (_world, address, _host) = web_host(kind, "");
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
