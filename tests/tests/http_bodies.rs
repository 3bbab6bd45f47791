//! Bodies on their way in and out: whole, in order, as they come, and in little memory.

use std::io::Write;
use std::thread;

use harness::{End, Http, Kind, World, each_kind, eventually, web_host};
use rustix::net::sockopt::{Timeout, set_socket_timeout};

const MIB: usize = 1024 * 1024;

/// As `/big` makes it.
fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251) as u8).collect()
}

/// FNV-1a, as `/echo-late` tells it.
fn sum(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{} {hash:016x}\n", bytes.len())
}

/// Sends `body` in chunks of several sizes, from a thread of its own.
fn pour(http: &Http, body: Vec<u8>, is_chunked: bool) -> thread::JoinHandle<()> {
    let mut client = http.second();
    thread::spawn(move || {
        if !is_chunked {
            return client.send(body);
        }
        let mut rest = &body[..];
        for size in [1, 100, 65_536, 7, 300_000].iter().cycle() {
            let (chunk, more) = rest.split_at(rest.len().min(*size));
            client.send(format!("{:x}\r\n", chunk.len()));
            client.send(chunk);
            client.send("\r\n");
            if chunk.is_empty() {
                return;
            }
            rest = more;
        }
    })
}

each_kind! { HTTP: bodies_come_and_go_whole_and_in_order }
fn bodies_come_and_go_whole_and_in_order(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let host = world.start(&[]);
        for is_chunked in [false, true] {
            let mut http = address.http();
            for size in [0, 1, 1000, 65_536, 5_000_000] {
                let body = pattern(size);
                for target in ["/echo", "/splice", "/echo-late"] {
                    http.begin(target, (!is_chunked).then_some(size));
                    let pouring = pour(&http, body.clone(), is_chunked);
                    let response = http.response();
                    pouring.join().unwrap();
                    response.expect_status(200);
                    let expected = match target {
                        "/echo-late" => sum(&body).into_bytes(),
                        _ => body.clone(),
                    };
                    let what = format!("{target} of {size} bytes, chunked: {is_chunked}");
                    assert!(response.body == expected, "{what}");
                }
            }
        }
        host.expect_in_flight(0);
    }
}

each_kind! { HTTP: large_answers_arrive_whole }
fn large_answers_arrive_whole(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let _host = world.start(&[]);
        let mut http = address.http();
        for (target, length) in [
            ("/big?5000000", None),
            ("/sized?5000000", Some("5000000")),
            ("/sized?0", Some("0")),
            ("/big?0", None),
        ] {
            let response = http.get(target);
            response.expect_status(200);
            let size = target.split_once('?').unwrap().1.parse().unwrap();
            let told = response.header("content-length");
            // A guest that ends its answer at once need not promise a length.
            assert!(told == length || (size == 0 && told == Some("0")), "{target}: {told:?}");
            assert!(response.body == pattern(size), "{target}");
        }
    }
}

each_kind! { HTTP: an_answer_of_another_length_than_it_promises_never_reaches_into_the_next }
fn an_answer_of_another_length_than_it_promises_never_reaches_into_the_next(kind: Kind) {
    let (_world, address, host) = web_host(kind, "");
    // More than it writes, and less.
    for bytes in [100, 5] {
        let mut http = address.http();
        http.send(format!("GET /promise?{bytes} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
        match http.try_response() {
            // What is wrong with it is seen before, in the middle, or as soon as the head would go.
            Ok(response) if response.status == 500 => {
                http.get("/hello").expect(200, "hello\n");
            }
            Ok(response) => {
                assert!(response.cut.is_some(), "{response:?}");
                assert!(b"not as promised\n".starts_with(&response.body), "{response:?}");
            }
            Err(answer) => assert_eq!(answer.bytes, b""),
        }
        host.log.expect("content-length promises");
    }
}

each_kind! { HTTP: an_answer_without_a_byte_is_one }
fn an_answer_without_a_byte_is_one(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let host = world.start(&[]);
        address.get("/status?200").expect(200, "");
        host.log.expect(" GET /status 200 (");
    }
}

each_kind! { HTTP: a_body_is_handed_on_as_it_comes }
fn a_body_is_handed_on_as_it_comes(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let _host = world.start(&[]);
        for target in ["/echo", "/splice"] {
            let mut http = address.http();
            http.begin(target, None);
            http.send_chunk("first");
            let head = http.next_head().expect("a head");
            assert_eq!(head.status, 200);
            assert_eq!(http.chunk(), Ok(b"first".to_vec()));
            for text in ["second", "third"] {
                http.send_chunk(text);
                assert_eq!(http.chunk(), Ok(text.as_bytes().to_vec()));
            }
            http.send_chunk("");
            assert_eq!(http.chunk(), Ok(Vec::new()));
            http.send("\r\n");
        }
    }
}

each_kind! { HTTP: a_client_that_waits_for_100_is_told_to_continue_when_its_body_is_wanted }
fn a_client_that_waits_for_100_is_told_to_continue_when_its_body_is_wanted(kind: Kind) {
    let (_world, address, _host) = web_host(kind, "max-body = 1000");
    let ask = |target: &str, length: usize| {
        let mut http = address.http();
        http.send(format!(
            "POST {target} HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        ));
        http
    };
    let mut http = ask("/echo-late", 4);
    http.response().expect(100, "");
    http.send("more");
    http.response().expect(200, "4 0d1be7a2c400c080\n");
    http.get("/hello").expect(200, "hello\n");

    // The guest does not read it.
    ask("/ignore-body", 4).response().expect(200, "ignored\n");
    ask("/trap", 4).response().expect_status(500);
    ask("/echo-late", 1001).response().expect_status(413);
}

each_kind! { HTTP: trailers_pass_both_ways }
fn trailers_pass_both_ways(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let host = world.start(&[]);
        let mut http = address.http();
        http.send(
            "POST /trailers HTTP/1.1\r\nHost: test\r\nTE: trailers\r\nTrailer: x-b, x-a\r\n\
             Transfer-Encoding: chunked\r\n\r\n4\r\nmore\r\n0\r\nX-B: 2\r\nX-A: 1\r\n\r\n",
        );
        let response = http.response();
        response.expect(200, "x-a: 1\nx-b: 2\n");
        let expected = ("x-sum".to_owned(), "4 0d1be7a2c400c080".to_owned());
        assert_eq!(response.trailers, [expected]);
        host.log.expect("POST /trailers 200 (");
        http.get("/hello").expect(200, "hello\n");
    }
}

each_kind! { HTTP: a_body_that_nobody_wants_is_in_nobodys_way }
fn a_body_that_nobody_wants_is_in_nobodys_way(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let host = world.start(&[]);
        let mut http = address.http();
        http.post("/ignore-body", "short").expect(200, "ignored\n");
        // The answer arrives though the client sends all of its words first.
        for _ in 0..10 {
            let mut http = address.http();
            http.begin("/ignore-body", Some(10 * MIB));
            let pouring = {
                let mut client = http.second();
                thread::spawn(move || {
                    // The host may have enough of it.
                    let _ = client.write_all(&vec![b'x'; 10 * MIB]);
                })
            };
            http.response().expect(200, "ignored\n");
            http.hang_up();
            pouring.join().unwrap();
        }
        host.expect_in_flight(0);
    }
}

each_kind! { HTTP: a_guest_waits_for_a_client_that_does_not_read }
fn a_guest_waits_for_a_client_that_does_not_read(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "timeout = \"infinity\"") {
        let host = world.start(&[]);
        let mut http = address.http();
        http.ask("GET", "/big?1000000000");
        http.next_head().expect("a head");
        let mut before = host.cpu_time();
        eventually("the guest rests", || {
            thread::sleep(std::time::Duration::from_millis(300));
            let now = host.cpu_time();
            std::mem::replace(&mut before, now) == now
        });
        let most = host.memory("VmHWM:");
        assert!(most < 64 * MIB as u64, "{most} bytes");
        host.expect_in_flight(1);
        http.second().vanish();
        drop(http);
        host.expect_in_flight(0);
    }
}

each_kind! { HTTP: a_client_waits_for_a_guest_that_does_not_read }
fn a_client_waits_for_a_guest_that_does_not_read(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "timeout = \"infinity\"\nmax-body = \"1GiB\"") {
        let host = world.start(&[]);
        let mut http = address.http();
        http.begin("/sleep?600000", Some(1000 * MIB));
        let patience = std::time::Duration::from_secs(2);
        set_socket_timeout(&*http, Timeout::Send, Some(patience)).expect("set a timeout");
        let chunk = vec![b'x'; 64 * 1024];
        let mut sent = 0;
        while sent < 200 * MIB {
            match http.write(&chunk) {
                Ok(count) => sent += count,
                Err(_) => break,
            }
        }
        assert!(sent < 100 * MIB, "{sent} bytes were taken");
        let most = host.memory("VmHWM:");
        assert!(most < 64 * MIB as u64, "{most} bytes");
    }
}

each_kind! { HTTP: a_client_that_vanishes_ends_its_guest }
fn a_client_that_vanishes_ends_its_guest(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "timeout = \"infinity\"") {
        let host = world.start(&[]);
        let gone = |http: Http| {
            host.expect_in_flight(1);
            http.second().vanish();
            drop(http);
            host.expect_in_flight(0);
        };
        // While it works on the answer, while it waits for more, and while it has more to say.
        let mut http = address.http();
        http.ask("GET", "/sleep?600000");
        gone(http);
        host.log.expect("GET /sleep: client left");

        let mut http = address.http();
        http.begin("/echo-late", None);
        http.send_chunk("first");
        gone(http);
        let line = host.log.expect("POST /echo-late");
        assert!(line.contains("client left"), "{line}");

        let mut http = address.http();
        http.ask("GET", "/big?1000000000");
        http.next_head().expect("a head");
        gone(http);
        host.log.expect("GET /big 200: client left");
    }
}

each_kind! { HTTP: half_a_body_is_not_taken_for_a_whole_one }
fn half_a_body_is_not_taken_for_a_whole_one(kind: Kind) {
    let (_world, address, host) = web_host(kind, "");
    // Neither the guest nor the client is told that it was whole.
    for length in [Some(100), None] {
        for target in ["/echo", "/splice", "/echo-late"] {
            let mut http = address.http();
            http.begin(target, length);
            match length {
                Some(_) => http.send("half"),
                None => http.send_chunk("half"),
            }
            http.finish();
            match http.try_response() {
                Ok(response) if response.status == 200 => {
                    assert_eq!(response.cut, Some(End::Reset), "{target} {length:?}");
                }
                Ok(response) => assert!(response.status >= 400, "{response:?}"),
                Err(instead) => assert_eq!(instead.text(), "", "{target} {length:?}"),
            }
        }
    }
    host.expect_in_flight(0);
    // What makes no sense as a chunk.
    let mut http = address.http();
    http.begin("/echo-late", None);
    http.send("no size\r\n");
    if let Ok(response) = http.try_response() {
        assert!(response.status >= 400, "{response:?}");
    }
    address.get("/hello").expect(200, "hello\n");
}
