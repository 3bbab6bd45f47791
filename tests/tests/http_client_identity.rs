//! What guests see of a request and who sent it, and what the log shows of both.

use harness::{Address, Client, Kind, World, each_kind, web_host};

/// What `/head` tells of a plain request from a TCP client, up to the headers.
fn told(method: &str, path: &str, authority: &str) -> String {
    format!(":method: {method}\n:path: {path}\n:scheme: http\n:authority: {authority}\n")
}

/// What the host tells guests of a client on TCP.
fn forwarded(authority: &str) -> String {
    format!("x-forwarded-for: 127.0.0.1\nx-forwarded-host: {authority}\nx-forwarded-proto: http\n")
}

each_kind! { HTTP: guests_of_both_worlds_see_a_request_alike_to_the_byte }
fn guests_of_both_worlds_see_a_request_alike_to_the_byte(kind: Kind) {
    let request = "PUT /head?a=%20b&c HTTP/1.1\r\nhOST: Example.org:8080\r\nX-Two: 1\r\n\
        Accept: */*\r\nx-two: caf\u{e9}\r\nX-Empty:\r\nCookie: a=b; c\r\nConnection: keep-alive\r\n\r\n";
    let headers = "accept: */*\ncookie: a=b; c\n";
    let world = World::new(kind);
    let [tcp, unix] = world.web_sockets("web", "");
    let _host = world.start(&[]);
    for (address, ip) in [(tcp, "x-forwarded-for: 127.0.0.1\n"), (unix, "")] {
        let mut http = address.http();
        http.send(request);
        let expected = told("PUT", "/head?a=%20b&c", "Example.org:8080")
            + headers
            + "x-empty: \n"
            + ip
            + "x-forwarded-host: Example.org:8080\nx-forwarded-proto: http\n"
            + "x-two: 1\nx-two: caf\u{e9}\n";
        http.response().expect(200, &expected);
    }
}

each_kind! { HTTP: every_method_but_connect_reaches_the_guest }
fn every_method_but_connect_reaches_the_guest(kind: Kind) {
    let (_world, address, _host) = web_host(kind, "");
    let mut http = address.http();
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"] {
        http.ask(method, "/head");
        let expected = told(method, "/head", "test") + &forwarded("test");
        http.response().expect(200, &expected);
    }
    http.send("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org\r\n\r\n");
    http.response().expect_status(405);
}

each_kind! { HTTP: a_target_may_be_a_whole_url_or_an_asterisk }
fn a_target_may_be_a_whole_url_or_an_asterisk(kind: Kind) {
    let (_world, address, _host) = web_host(kind, "");
    let mut http = address.http();
    http.send("GET http://other:81/head HTTP/1.1\r\nHost: test\r\n\r\n");
    let expected = told("GET", "/head", "other:81") + &forwarded("other:81");
    http.response().expect(200, &expected);
    http.send("GET http://other HTTP/1.1\r\nHost: other\r\n\r\n");
    http.response().expect(404, "there is no part \"/\"\n");
    http.ask("OPTIONS", "*");
    http.response().expect(404, "there is no part \"*\"\n");
}

each_kind! { HTTP: headers_of_the_connection_are_not_a_guests_to_set }
fn headers_of_the_connection_are_not_a_guests_to_set(kind: Kind) {
    let (_world, address, _host) = web_host(kind, "");
    let mut http = address.http();
    let response = http.get("/forbidden");
    let refused = ["connection", "host", "keep-alive", "transfer-encoding", "upgrade"];
    let refused: String = refused.map(|name| format!("{name}: forbidden\n")).concat();
    response.expect(200, &(refused + "x-allowed: allowed\n"));
    assert_eq!(response.header("x-allowed"), Some("close"));
    assert_eq!(response.header("connection"), None);
    http.get("/hello").expect(200, "hello\n");
}

each_kind! { HTTP: a_guest_may_answer_with_many_headers }
fn a_guest_may_answer_with_many_headers(kind: Kind) {
    let (_world, address, _host) = web_host(kind, "");
    let response = address.get("/headers?200");
    response.expect(200, "200 headers\n");
    for n in 0..200 {
        let value = response.header(&format!("x-{n}"));
        assert_eq!(value, Some(n.to_string().as_str()));
    }
}

each_kind! { HTTP: guests_can_believe_who_the_host_says_the_client_is }
fn guests_can_believe_who_the_host_says_the_client_is(kind: Kind) {
    let request = "GET /head HTTP/1.1\r\nHost: test\r\nX-Forwarded-For: 192.0.2.1\r\n\
        X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Port: 1\r\n\
        X-Real-IP: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\n\r\n";
    let plain = told("GET", "/head", "test");
    let trusted = plain.replace(": http\n", ": https\n")
        + "forwarded: for=192.0.2.1\nx-forwarded-for: 192.0.2.1\nx-forwarded-host: evil\n\
           x-forwarded-port: 1\nx-forwarded-proto: https\nx-real-ip: 192.0.2.1\n";
    let set = plain.clone() + &forwarded("test");
    let world = World::new(kind);
    for (mode, expected) in [("trust", &trusted), ("set", &set), ("off", &plain)] {
        let address = world.web_port(mode, &format!("forwarded-for = \"{mode}\""));
        let _host = world.start(&[]);
        let mut http = address.http();
        http.send(request);
        http.response().expect(200, expected);
    }
}

fn variables(client: &Client, port: u16) -> String {
    let remote = client.local_port();
    format!(
        "PROTO=TCP\nREMOTE_ADDR=127.0.0.1\nREMOTE_PORT={remote}\nTCPLOCALIP=127.0.0.1\n\
         TCPLOCALPORT={port}\nTCPREMOTEIP=127.0.0.1\nTCPREMOTEPORT={remote}\nWASM_SOCK_NAME=web\n"
    )
}

#[test]
fn a_guest_that_answers_one_client_only_learns_who_that_is() {
    for (kind, reuse) in [(Kind::P2, "reuse = 10"), (Kind::P3, "reuse = 1")] {
        let world = World::new(kind);
        let address = world.web_port("web", reuse);
        let _host = world.start(&[]);
        let mut http = address.http();
        let expected = variables(&http, address.port());
        http.get("/env").expect(200, &expected);
    }
    let (_world, address, _host) = web_host(Kind::P3, "reuse = 2\nenv = { GREETING = \"hi\" }");
    address.get("/env").expect(200, "GREETING=hi\nWASM_SOCK_NAME=web\n");
}

each_kind! { HTTP: every_request_leaves_one_line_with_its_outcome }
fn every_request_leaves_one_line_with_its_outcome(kind: Kind) {
    let world = World::new(kind);
    let [tcp, unix] = world.web_sockets("web", "");
    let host = world.start(&[]);
    let mut http = tcp.http();
    let peer = format!("web 127.0.0.1:{}: ", http.local_port());
    http.get("/hello?secret=1");
    let line = host.log.expect("GET /hello");
    assert!(line.contains(&format!("{peer}GET /hello 200 (")), "{line}");
    assert!(line.ends_with(", 0 bytes in, 6 out)"), "{line}");
    assert!(!line.contains("secret"), "{line}");

    http.post("/echo", "12345");
    let line = host.log.expect("POST /echo 200 (");
    assert!(line.ends_with(", 5 bytes in, 5 out)"), "{line}");

    http.get("/sized?1000");
    let line = host.log.expect("GET /sized 200 (");
    assert!(line.ends_with(", 0 bytes in, 1000 out)"), "{line}");

    http.get("/trap");
    let line = host.log.expect("GET /trap 500: ended: ");
    assert!(line.contains("unreachable"), "{line}");

    http.get("/status?404");
    host.log.expect("GET /status 404 (");
    unix.get("/hello");
    let uid = rustix::process::getuid().as_raw();
    let pid = std::process::id();
    host.log.expect(&format!("web uid {uid} pid {pid}: GET /hello 200 ("));

    let long = format!("/{}", "x".repeat(5000));
    http.get(&long).expect_status(404);
    let line = host.log.expect("GET /xxx");
    assert!(line.len() < 400, "{line}");
}

each_kind! { HTTP: control_characters_of_a_request_reach_no_terminal }
fn control_characters_of_a_request_reach_no_terminal(kind: Kind) {
    let (_world, address, host) = web_host(kind, "");
    let mut http = address.http();
    http.send(b"GET /\xc2\x9b2J%0a HTTP/1.1\r\nHost: test\r\n\r\n");
    http.response();
    let line = host.log.expect("GET /");
    assert!(!line.contains('\u{9b}'), "{line:?}");
}

#[test]
fn what_a_guest_tells_stderr_is_logged_with_its_handler() {
    for (kind, reuse) in [(Kind::P2, 1), (Kind::P3, 1), (Kind::P3, 2)] {
        let world = World::new(kind);
        let address = world.web_port("web", &format!("reuse = {reuse}"));
        let host = world.start(&[]);
        let mut http = address.http();
        http.get("/stderr?word").expect(200, "ok\n");
        // An instance that may answer others speaks for none of them.
        let peer = match reuse {
            1 => format!(" 127.0.0.1:{}", http.local_port()),
            _ => String::new(),
        };
        host.log.expect(&format!("wasm-sock: web{peer}: word"));
    }
}

each_kind! { HTTP: requests_of_guests_without_a_grant_are_refused }
fn requests_of_guests_without_a_grant_are_refused(kind: Kind) {
    let (_world, address, _host) = web_host(kind, "");
    address
        .get("/outbound?http://127.0.0.1:80/")
        .expect(200, "error: ErrorCode::HttpRequestDenied\n");
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
