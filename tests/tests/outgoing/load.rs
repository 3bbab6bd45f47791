//! Many requests, and a canary beside them.

use super::Web;
use super::servers::{answer, request, serve, telling};
use harness::{Address, Kind, World};
use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

const PATIENT: &str = "timeout = \"2min\"\ncpu-time = \"2min\"\nmemory = \"256MiB\"";

/// The answer to a request that may take longer than others.
fn ask(address: &Address, target: &str) -> String {
    let Address::Tcp(address) = address else {
        panic!("not a TCP port");
    };
    let mut client = TcpStream::connect(address).expect("connect");
    let _ = client.set_read_timeout(Some(Duration::from_secs(100)));
    write!(client, "GET {target} HTTP/1.0\r\nHost: a\r\n\r\n").expect("send");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    answer
}

#[test]
fn ten_thousand_requests_of_one_guest_leave_the_others_alone() {
    let server = telling();
    let world = World::new(Kind::P2);
    let canary = world.web_port("canary", "");
    let granted = format!("allow-outbound = [\"{}\"]\n{PATIENT}", server.address);
    let web = Web::of(world, "http-fetch", &granted);
    let target = format!("/many?10000+{}", server.url("/"));
    thread::scope(|scope| {
        let told = scope.spawn(|| ask(&web.address, &target));
        while !told.is_finished() {
            let started = Instant::now();
            canary.get("/hello").expect(200, "hello\n");
            let took = started.elapsed();
            assert!(took < Duration::from_secs(2), "the canary had to wait for {took:?}");
            thread::sleep(Duration::from_millis(20));
        }
        let told = told.join().expect("an answer");
        let log = web.host.log.lines().into_iter().filter(|line| line.contains(" web"));
        let log: Vec<String> = log.collect();
        assert!(told.contains(" right"), "{told}: {log:?}");
        let right = told.split("\r\n\r\n").nth(1).and_then(|text| text.split(' ').next());
        let right: usize = right.and_then(|n| n.parse().ok()).expect("a number");
        assert!(right >= 4 * 1000, "{told}");
        assert!(told.contains("{}") || told.contains("ConnectionLimitReached"), "{told}");
    });
    // At a time there are 64 at most.
    assert!(server.connections() <= 256, "{} connections", server.connections());
    let memory = web.host.memory("VmHWM:");
    assert!(memory < 300 << 20, "{memory} bytes");
}

#[test]
fn instances_in_several_threads_share_connections() {
    let server = serve(|stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        let mut stream = stream;
        while request(&mut reader).is_some() && answer(&mut stream, b"hello") {}
    });
    let web = Web::new("http-fetch", &format!("allow-outbound = [\"{}\"]", server.address));
    let (url, address) = (server.url("/"), &web.address);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                let mut http = address.http();
                for _ in 0..50 {
                    http.get(&format!("/?{url}")).expect(200, "hello");
                }
            });
        }
    });
    assert!(
        server.connections() <= 256,
        "{} connections for 800 requests",
        server.connections()
    );
}
