//! Many requests, and a canary beside them.

use super::Web;
use super::servers::{answer, request, serve, telling};
use harness::{Kind, World};
use std::io::BufReader;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

const PATIENT: &str = "timeout = \"2min\"\ncpu-time = \"2min\"\nmemory = \"256MiB\"";

#[test]
fn ten_thousand_requests_of_one_guest_leave_the_others_alone() {
    let server = telling();
    let world = World::new(Kind::P2);
    let canary = world.web_port("canary", "");
    let granted = format!("allow-outbound = [\"{}\"]\n{PATIENT}", server.address);
    let web = Web::of(world, "http-fetch", &granted);
    let (url, address) = (server.url("/"), web.address.clone());
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        let told = scope.spawn(|| {
            let mut http = address.http();
            let told = http.get(&format!("/many?10000+{url}")).text();
            is_done.store(true, SeqCst);
            told
        });
        while !is_done.load(SeqCst) {
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
        let right: usize = told.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
        assert!(right >= 1000, "{told}");
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
