//! Answers without a body (HEAD, 304): their guests may write one, and are ended when they go on and on.

use std::thread;
use std::time::Duration;

use harness::frames::{END_HEADERS, END_STREAM, HEADERS, frame, head, stream};
use harness::{Address, Host, Http, Kind, Response, World, each_kind, eventually, web_host};

/// Nothing but the end of its answer ends a guest.
const WITHOUT_END: &str = "timeout = \"infinity\"\ncpu-time = \"infinity\"";

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
    let (_world, address, host) = web_host(kind, "");
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

each_kind! { HTTP: head_is_told_the_length_that_get_would_have }
fn head_is_told_the_length_that_get_would_have(kind: Kind) {
    let (_world, address, host) = web_host(kind, "");
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
