//! The libraries of each language: `wstd` (Rust), `fetch` (JavaScript), the bindings of componentize-py, and the
//! interfaces of WASI 0.2 and 0.3 themselves.

use super::Web;
use super::servers::{pouring, reading_slowly, telling};
use harness::{Kind, World};
use std::io::{Read, Write};
use std::thread;
use std::time::Duration;

const LIBRARIES: [&str; 3] = ["http-fetch", "fetch-javascript", "fetch-python"];

#[test]
fn guests_make_requests_with_the_libraries_of_their_languages() {
    for guest in LIBRARIES {
        let server = telling();
        let web = Web::new(guest, &format!("allow-outbound = [\"{}\"]", server.address));
        for _ in 0..3 {
            let (status, text) = web.get(&server.url("/a/b?c=d"));
            assert_eq!(status, 200, "{guest}: {text}\n{}", web.host.log.text());
            let expected = format!("get /a/b?c=d http/1.1\nhost: {}\n", server.address);
            assert!(text.starts_with(&expected), "{guest}: {text}");
        }
        assert_eq!(
            server.connections(),
            1,
            "{guest}: instances of a handler share connections"
        );
    }
}

#[test]
fn guests_send_bodies() {
    for guest in ["http-fetch", "fetch-javascript"] {
        let server = telling();
        let web = Web::new(guest, &format!("allow-outbound = [\"{}\"]", server.address));
        let mut http = web.address.http();
        let url = server.url("/post");
        let request =
            format!("POST /?{url} HTTP/1.1\r\nHost: a\r\nX-Test: yes\r\nContent-Length: 9\r\n\r\na message");
        http.send(request);
        let text = http.response().text();
        assert!(text.starts_with("post /post http/1.1\n"), "{guest}: {text}");
        assert!(
            text.contains("x-test: yes\n") && text.ends_with("a message"),
            "{guest}: {text}"
        );
    }
}

const SIZE: usize = 32 << 20;

fn streaming(address: std::net::SocketAddr) -> Web {
    let settings = format!(
        "allow-outbound = [\"{address}\"]\noutbound = {{ max-body = \"1GiB\" }}\nmax-body = \"1GiB\"\nmemory = \"8MiB\""
    );
    Web::new("http-fetch", &settings)
}

/// What the host has in memory while one side waits.
fn expect_little_memory(web: &Web) {
    thread::sleep(Duration::from_secs(1));
    let memory = web.host.memory("VmRSS:");
    assert!(memory < 40 << 20, "{memory} bytes");
}

#[test]
fn a_client_that_reads_slowly_slows_down_the_server() {
    let server = pouring(SIZE);
    let web = streaming(server.address);
    let mut client = web.address.connect();
    write!(client, "GET /?{} HTTP/1.0\r\nHost: a\r\n\r\n", server.url("/")).expect("the head");
    expect_little_memory(&web);
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).expect("the answer");
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    assert_eq!(bytes.len() - head, SIZE, "{}", web.host.log.text());
    let mut chunks = bytes[head..].chunks(65536).enumerate();
    assert!(chunks.all(|(chunk, bytes)| bytes.iter().all(|byte| *byte == chunk as u8)));
}

#[test]
fn a_server_that_reads_slowly_slows_down_the_client() {
    let server = reading_slowly();
    let web = streaming(server.address);
    let mut client = web.address.connect();
    let mut sender = client.second();
    let url = server.url("/");
    let pouring = thread::spawn(move || {
        write!(
            sender,
            "POST /?{url} HTTP/1.0\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"
        )
        .expect("the head");
        for chunk in 0..SIZE / 65536 {
            sender.write_all(&[chunk as u8; 65536]).expect("the body");
        }
    });
    expect_little_memory(&web);
    let mut text = String::new();
    client.read_to_string(&mut text).expect("the answer");
    pouring.join().expect("it was sent");
    assert!(
        text.ends_with(&format!("{SIZE} bytes, all right")),
        "{text}\n{}",
        web.host.log.text()
    );
}

#[test]
fn both_versions_of_wasi_http_make_requests() {
    for kind in [Kind::P2, Kind::P3] {
        let server = telling();
        let granted = format!("allow-outbound = [\"http://{}/yes*\"]", server.address);
        let web = Web::of(World::new(kind), "http-actor", &granted);
        let ask = |path: &str| web.address.get(&format!("/outbound?{}", server.url(path))).text();
        for _ in 0..3 {
            assert_eq!(ask("/yes"), "status: 200\n", "{}", web.host.log.text());
        }
        let refused = ask("/no");
        assert!(refused.contains("HttpRequestDenied"), "{refused}");
    }
}
