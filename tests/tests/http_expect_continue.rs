//! Clients that wait for `100 Continue` before they send a body.

use std::time::{Duration, Instant};

use harness::{Address, Http, Kind, World, curl, each_kind};

/// Less than what a client would wait for in vain, and much more than an answer takes on a busy machine.
const AT_ONCE: Duration = Duration::from_secs(10);

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
