//! Guests in JavaScript, TypeScript and Python, made by their own toolchains, answer HTTP as those in Rust do.

use std::io::{Read, Write};
use std::thread;

use harness::{Address, End, Host, Kind, World};

const MIB: u64 = 1 << 20;

/// Guests that send a request's body back as it comes: `tests/actors/http-echo`.
const ECHOES: [&str; 3] = ["echo-javascript", "echo-typescript", "echo-python"];

/// Enough of everything but memory.
const PATIENT: &str = "max-body = \"2GiB\"\ntimeout = \"10min\"\ncpu-time = \"10min\"";

/// A world with `guest` behind a port and a Unix socket.
fn serving(guest: &str, settings: &str) -> (World, [Address; 2], Host) {
    let world = World::new(Kind::P2);
    world.install(guest, guest);
    world.configure(&format!("[handler.{guest}]\n{settings}\n"));
    let addresses = [world.tcp(guest), world.unix(guest)];
    let host = world.start(&[]);
    (world, addresses, host)
}

/// The bytes of a body from `start` on: they repeat only after a prime number of them.
fn pattern(start: u64, bytes: &mut [u8]) {
    for (at, byte) in (start..).zip(bytes) {
        *byte = (at % 65_521 % 251) as u8;
    }
}

/// Posts that many bytes, and takes the same back, in constant memory. Returns how many came back right, and how
/// the connection ended. (Over HTTP/1.0, a body ends with its connection.)
fn echoed(address: &Address, size: u64) -> (u64, End) {
    let mut client = address.connect();
    let mut sender = client.second();
    let pouring = thread::spawn(move || {
        let head = format!("POST / HTTP/1.0\r\nHost: x\r\nContent-Length: {size}\r\n\r\n");
        sender.write_all(head.as_bytes())?;
        let mut bytes = vec![0; 100_000];
        for start in (0..size).step_by(bytes.len()) {
            let length = bytes.len().min((size - start) as usize);
            pattern(start, &mut bytes[..length]);
            sender.write_all(&bytes[..length])?;
        }
        Ok::<(), std::io::Error>(())
    });
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        client.read_exact(&mut byte).expect("the head of an answer");
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    assert!(head.starts_with("HTTP/1.0 200 "), "{head}");
    let (mut right, mut bytes, mut expected) = (0, vec![0; 100_000], vec![0; 100_000]);
    let end = loop {
        match client.read(&mut bytes) {
            Ok(0) => break End::Closed,
            Ok(count) => {
                pattern(right, &mut expected[..count]);
                assert!(bytes[..count] == expected[..count], "wrong after {right} bytes");
                right += count as u64;
            }
            Err(_) => break End::Reset,
        }
    };
    // A reset is told once, to the one who reads or to the one who sends.
    let sent = pouring.join().expect("the client that sends");
    (right, if sent.is_ok() { end } else { End::Reset })
}

#[test]
fn bodies_go_through_byte_for_byte_on_every_kind_of_socket() {
    for guest in ECHOES {
        let (_world, addresses, host) = serving(guest, PATIENT);
        for address in addresses {
            // 3 MB was too much when every handle counted as a descriptor.
            for size in [0, 1, 65_536, 3 * MIB] {
                assert_eq!(echoed(&address, size), (size, End::Closed), "{guest}");
            }
        }
        host.expect_in_flight(0);
    }
}

/// Sends `size` bytes through a guest, for which the process has no more than `most` bytes more.
fn goes_through(guest: &str, size: u64, settings: &str, most: u64) {
    let (_world, [address, _], host) = serving(guest, &format!("{PATIENT}\n{settings}"));
    assert_eq!(echoed(&address, MIB), (MIB, End::Closed), "{guest}");
    let before = host.memory("VmHWM:");
    assert_eq!(echoed(&address, size), (size, End::Closed), "{guest}");
    let more = host.memory("VmHWM:").saturating_sub(before);
    eprintln!("{guest}: {} MiB before, {} KiB more", before >> 20, more >> 10);
    assert!(more < most, "{guest}: {more} bytes more");
}

#[test]
fn large_bodies_go_through_javascript_in_constant_memory() {
    goes_through("echo-javascript", 64 * MIB, "", 8 * MIB);
    goes_through("echo-typescript", 64 * MIB, "", 8 * MIB);
}

#[test]
#[ignore = "it takes long: `cargo test -p wasm-sock-tests --test http_languages -- --ignored`"]
fn a_gibibyte_goes_through_javascript_in_constant_memory() {
    goes_through("echo-javascript", 1024 * MIB, "", 40 * MIB);
}

/// What componentize-py has received for a call it frees when the call is over: a guest in Python needs as much
/// memory as its largest body has. The host's own is constant.
#[test]
fn large_bodies_go_through_python_in_the_memory_that_it_is_given() {
    goes_through("echo-python", 64 * MIB, "memory = \"256MiB\"", 128 * MIB);
}

#[test]
#[ignore = "it takes long: `cargo test -p wasm-sock-tests --test http_languages -- --ignored`"]
fn a_gibibyte_goes_through_python_in_the_memory_that_it_is_given() {
    let memory = "memory = \"2GiB\"";
    goes_through("echo-python", 1024 * MIB, memory, 1536 * MIB);
}

#[test]
fn a_guest_that_runs_out_of_memory_by_its_handles_says_so_and_resets_its_answer() {
    // Each read of a body takes handles, which live until the collector runs: it never does here.
    let settings = format!("{PATIENT}\nmemory = \"24MiB\"");
    let (_world, [address, _], host) = serving("echo-javascript", &settings);
    let (right, end) = echoed(&address, 1024 * MIB);
    assert_eq!(end, End::Reset);
    assert!(right > 16 * MIB, "{right} bytes came");
    host.log
        .expect("200: ended: ran out of memory (raise `memory` if it needs more)");
    assert_eq!(echoed(&address, MIB), (MIB, End::Closed));
}

#[test]
fn an_exception_is_answered_with_500_and_told() {
    for guest in ECHOES {
        let (_world, [address, _], host) = serving(guest, "");
        let response = address.get("/throw");
        assert_eq!(response.status, 500, "{guest}");
        host.log.expect("as it was asked to");
        assert_eq!(echoed(&address, 1000), (1000, End::Closed), "{guest}");
    }
}

#[test]
fn http_javascript_tells_what_it_was_asked() {
    let (_world, addresses, host) = serving("http-javascript", "");
    for (address, client) in addresses.iter().zip(["127.0.0.1", "local"]) {
        let mut http = address.http();
        let response = http.get("/a/b?c=d");
        let expected = format!("{{\"path\":\"/a/b\",\"client\":\"{client}\"}}");
        response.expect(200, &expected);
        assert_eq!(response.header("content-type"), Some("application/json"));
        assert_eq!(http.head("/").status, 200);
        http.post("/", "{\"b\": [2], \"a\": 1}")
            .expect(200, "{\"a\":1,\"b\":[2]}");
        http.post("/", "{").expect_status(400);
        http.ask("DELETE", "/");
        let response = http.response();
        response.expect(405, "DELETE is not understood\n");
        assert_eq!(response.header("allow"), Some("GET, HEAD, POST"));
    }
    host.expect_in_flight(0);
}

#[test]
fn http_typescript_adds_up_an_order_and_says_what_is_wrong_with_one() {
    let (_world, addresses, host) = serving("http-typescript", "");
    for address in addresses {
        let mut http = address.http();
        let order = r#"[{"name":"tea","price":2.1,"quantity":3},{"name":"cup","price":0.1,"quantity":1}]"#;
        let response = http.post("/", order);
        response.expect(200, r#"{"total":6.4,"items":2}"#);
        assert_eq!(response.header("content-type"), Some("application/json"));
        http.post("/", "{}").expect(400, r#"{"error":"an order is a list"}"#);
        let response = http.post("/", r#"[{"name":"tea","price":"2","quantity":1}]"#);
        response.expect_status(400);
        assert!(response.text().contains("item 0: "), "{}", response.text());
        http.post("/", "[").expect_status(400);
        let response = http.get("/");
        response.expect_status(405);
        assert_eq!(response.header("allow"), Some("POST"));
    }
    host.expect_in_flight(0);
}
