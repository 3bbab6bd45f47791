//! Which answer says that it is the last of its connection (`Connection: close`): one over a request whose end was
//! not read.

use harness::{Kind, World, each_kind, web_host};

each_kind! { HTTP: an_answer_over_half_a_request_says_that_it_is_the_last }
/// RFC 9112, 9.6: a client must not send another request on a connection that is about to close.
fn an_answer_over_half_a_request_says_that_it_is_the_last(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let _host = world.start(&[]);
        for length in ["Content-Length: 100000", "Transfer-Encoding: chunked"] {
            let head = format!("POST /ignore-body HTTP/1.1\r\nHost: a\r\n{length}\r\n\r\n");
            for some in ["", "4\r\nsome\r\n"] {
                let mut http = address.http();
                // At once: the host may be done with it before more comes.
                http.send(format!("{head}{some}"));
                let response = http.response();
                response.expect(200, "ignored\n");
                response.expect_last();
                http.finish();
                http.expect_closed();
            }
        }
    }
}

each_kind! { HTTP: an_answer_over_a_whole_request_that_was_not_read_is_not_the_last }
fn an_answer_over_a_whole_request_that_was_not_read_is_not_the_last(kind: Kind) {
    let bodies = [
        "Content-Length: 4\r\n\r\nmore".to_owned(),
        format!("Content-Length: 4000\r\n\r\n{}", "x".repeat(4000)),
        "Transfer-Encoding: chunked\r\n\r\n4\r\nmore\r\n0\r\n\r\n".to_owned(),
    ];
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let _host = world.start(&[]);
        for body in &bodies {
            let mut http = address.http();
            for _ in 0..20 {
                http.send(format!("POST /ignore-body HTTP/1.1\r\nHost: a\r\n{body}"));
                let response = http.response();
                response.expect(200, "ignored\n");
                assert_eq!(response.header("connection"), None, "{body}");
            }
            http.get("/hello").expect(200, "hello\n");
        }
    }
}

each_kind! { HTTP: a_length_told_before_does_not_make_chunks_the_last }
/// RFC 9112, 6.1 is about one request with both kinds of length, not about one after the other.
fn a_length_told_before_does_not_make_chunks_the_last(kind: Kind) {
    let world = World::new(kind);
    for address in world.web_sockets("web", "") {
        let _host = world.start(&[]);
        let mut http = address.http();
        for _ in 0..3 {
            let response = http.post("/echo-late", "more");
            response.expect(200, "4 0d1be7a2c400c080\n");
            assert_eq!(response.header("connection"), None);
            http.begin("/echo-late", None);
            http.send_chunk("more");
            http.send_chunk("");
            let response = http.response();
            response.expect(200, "4 0d1be7a2c400c080\n");
            assert_eq!(response.header("connection"), None);
        }
        // Both at once.
        http.send(
            "POST /echo-late HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\
             Transfer-Encoding: chunked\r\n\r\n4\r\nmore\r\n0\r\n\r\n",
        );
        let response = http.response();
        response.expect(200, "4 0d1be7a2c400c080\n");
        response.expect_last();
        http.expect_closed();
    }
}

each_kind! { HTTP: what_looks_like_a_second_length_is_none }
/// Nor do a body, trailers or requests that come at once make one with two kinds of length.
fn what_looks_like_a_second_length_is_none(kind: Kind) {
    let with_length = "POST /echo-late HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nmore";
    let in_chunks = "POST /echo-late HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let line = "\r\nContent-Length: 4\r\n";
    let (_world, address, _host) = web_host(kind, "");
    let mut http = address.http();
    for (sent, answers) in [
        (format!("{with_length}{in_chunks}0\r\n\r\n"), 2),
        (format!("{in_chunks}0\r\n\r\n{with_length}"), 2),
        (format!("{in_chunks}{:x}\r\n{line}\r\n0\r\n\r\n", line.len()), 1),
        (format!("{in_chunks}0{line}\r\n"), 1),
    ] {
        http.send(&sent);
        for _ in 0..answers {
            let response = http.response();
            response.expect_status(200);
            assert_eq!(response.header("connection"), None, "{sent:?}");
        }
    }
    http.get("/hello").expect(200, "hello\n");
}
