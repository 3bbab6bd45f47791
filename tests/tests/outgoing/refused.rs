//! What leads out of `allow-outbound`, and does not.

use super::Web;
use super::servers::{request, serve, telling};
use std::io::{BufReader, Write};
use std::net::TcpListener;

#[test]
fn only_granted_urls_and_methods_are_called() {
    let server = telling();
    let (address, port) = (server.address, server.address.port());
    let granted = format!("allow-outbound = [\"GET http://{address}/v1/*\", \"http://{address}/exactly\"]");
    let web = Web::new("http-fetch", &granted);
    for path in ["/v1/", "/v1/a/b?x=../..", "/exactly", "/exactly?query"] {
        let (status, text) = web.get(&server.url(path));
        assert_eq!(status, 200, "{path}: {text}\n{}", web.host.log.text());
    }
    let called = server.connections();
    for url in [
        server.url("/"),
        server.url("/v1"),
        server.url("/v2/"),
        server.url("/V1/"),
        server.url("/exactly/not"),
        server.url("/v1/../admin"),
        server.url("/v1/%2e%2e/admin"),
        server.url("/v1/..%2fadmin"),
        server.url("/v1/%252e%252e/admin"),
        server.url("/v1/..;a/admin"),
        format!("http://127.0.0.1:{}/v1/", port ^ 1),
        format!("http://127.0.0.2:{port}/v1/"),
        format!("http://localhost:{port}/v1/"),
        format!("http://[::ffff:127.0.0.1]:{port}/v2/"),
        format!("https://{address}/v1/"),
    ] {
        let error = web.error(&url);
        assert!(error.contains("HttpRequestDenied"), "{url}: {error}");
    }
    for url in [format!("http://user@{address}/v1/"), format!("http://{address}:80/v1/")] {
        let (status, text) = web.get(&url);
        assert_ne!(status, 200, "{url}: {text}");
    }
    let mut http = web.address.http();
    http.send(format!(
        "POST /?{} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        server.url("/v1/")
    ));
    let text = http.response().text();
    assert!(text.contains("HttpRequestDenied"), "{text}");
    assert_eq!(server.connections(), called, "nothing else was connected to");
}

#[test]
fn the_log_has_the_line_that_would_allow_it() {
    let web = Web::new("http-fetch", "allow-outbound = [\"example.org:443\"]");
    web.error("http://192.0.2.1:8080/hook?token=secret");
    web.host.log.expect(
        "GET http://192.0.2.1:8080/hook was refused (allow-outbound = [\"GET http://192.0.2.1:8080/hook\"] would allow it)",
    );
    assert_eq!(web.host.log.count("secret"), 0);
}

#[test]
fn redirects_are_not_followed() {
    let elsewhere = telling();
    let to = elsewhere.url("/");
    let server = serve(move |stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
        let mut stream = stream;
        request(&mut reader);
        let _ = write!(
            stream,
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n"
        );
    });
    let web = Web::new("http-fetch", &format!("allow-outbound = [\"{}\"]", server.address));
    let response = web.address.get(&format!("/?{}", server.url("/")));
    assert_eq!(response.status, 307);
    assert_eq!(elsewhere.connections(), 0);
}

#[test]
fn variables_that_name_a_proxy_mean_nothing() {
    let proxy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let named = format!("http://{}", proxy.local_addr().expect("an address"));
    let server = telling();
    let settings = format!(
        "allow-outbound = [\"{}\"]\nenv = {{ http_proxy = \"{named}\", HTTP_PROXY = \"{named}\", ALL_PROXY = \"{named}\" }}",
        server.address
    );
    for guest in ["http-fetch", "fetch-javascript", "fetch-python"] {
        let web = Web::new(guest, &settings);
        assert_eq!(web.get(&server.url("/")).0, 200, "{guest}");
    }
    proxy.set_nonblocking(true).expect("a socket");
    assert!(proxy.accept().is_err(), "the proxy was connected to");
}

#[test]
fn errors_are_the_ones_of_wasi_http() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .expect("a port")
        .local_addr()
        .expect("an address");
    let silent = serve(|stream| {
        let _ = request(&mut BufReader::new(stream.try_clone().expect("a descriptor")));
        std::thread::sleep(std::time::Duration::from_secs(20));
    });
    let cut = serve(|stream| {
        let mut stream = stream;
        let _ = request(&mut BufReader::new(stream.try_clone().expect("a descriptor")));
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConte");
    });
    let settings = format!(
        "allow-outbound = [\"{closed}\", \"{}\", \"{}\", \"nowhere.invalid:80\"]\n\
         outbound = {{ first-byte-timeout = \"300ms\", idle-timeout = \"300ms\" }}",
        silent.address, cut.address
    );
    let web = Web::new("http-fetch", &settings);
    for (url, expected) in [
        (format!("http://{closed}/"), "ConnectionRefused"),
        (silent.url("/"), "ConnectionReadTimeout"),
        (cut.url("/"), "HttpResponseIncomplete"),
        ("http://nowhere.invalid/".to_owned(), "Dns"),
    ] {
        let error = web.error(&url);
        assert!(error.contains(expected), "{url}: {error}");
    }
}

#[test]
fn without_the_way_out_the_guest_gets_an_error_and_the_log_says_what_to_do() {
    let server = telling();
    // In this order: the last is dropped first.
    let Web {
        world: _world,
        address,
        egress,
        host,
    } = Web::new("http-fetch", &format!("allow-outbound = [\"{}\"]", server.address));
    egress.kill();
    let response = address.get(&format!("/?{}", server.url("/")));
    assert_eq!(response.status, 502);
    assert!(response.text().contains("InternalError"), "{}", response.text());
    host.log.expect("enable wasm-sock-egress.socket");
}
