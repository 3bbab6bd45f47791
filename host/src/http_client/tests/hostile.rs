//! Servers that break the rules, with a canary: another server, whose requests are answered all the while.

use super::*;

/// Waits for `attack`, while requests to a server that behaves are answered within the time that a person notices.
pub async fn with_canary<T>(world: &World, attack: impl Future<Output = T>) -> T {
    let server = serve(|mut peer: Peer| while peer.request().is_some() && peer.say(HELLO) {});
    let canary = async {
        loop {
            let started = Instant::now();
            assert_eq!(world.get(&server.url("/")).await.expect("the canary"), "hello\n");
            let took = started.elapsed();
            assert!(took < Duration::from_secs(2), "the canary had to wait for {took:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        result = timeout(PATIENCE, attack) => result.expect("it hangs"),
        () = canary => unreachable!("it never ends"),
    }
}

/// The error of a request to a server that says this and then waits.
async fn error_of(world: &World, said: &'static [u8]) -> Error {
    let server = serve(move |mut peer: Peer| {
        peer.request();
        if peer.say(said) {
            peer.wait_for_end();
        }
    });
    match with_canary(world, world.get(&server.url("/"))).await {
        Ok(text) => panic!("it was answered: {text:?}"),
        Err(error) => error,
    }
}

fn short() -> OutboundLimits {
    OutboundLimits {
        connect_timeout: SHORT,
        first_byte_timeout: SHORT,
        idle_timeout: SHORT,
        max_requests: 8,
        max_body: Some(100_000),
        max_head: 8 << 10,
    }
}

#[tokio::test]
async fn an_endless_head_is_cut_short() {
    let world = World::with(OutboundLimits::default());
    let server = serve(|mut peer: Peer| {
        peer.request();
        peer.say(b"HTTP/1.1 200 OK\r\nX: ");
        while peer.say(&[b'x'; 4096]) {}
    });
    let error = with_canary(&world, world.get(&server.url("/"))).await.unwrap_err();
    assert!(matches!(error, Error::HttpResponseHeaderSectionSize(_)), "{error}");
}

#[tokio::test]
async fn endless_fields_are_cut_short() {
    let world = World::with(OutboundLimits::default());
    let server = serve(|mut peer: Peer| {
        peer.request();
        peer.say(b"HTTP/1.1 200 OK\r\n");
        while peer.say(b"X: y\r\n") {}
    });
    let error = with_canary(&world, world.get(&server.url("/"))).await.unwrap_err();
    assert!(matches!(error, Error::HttpResponseHeaderSectionSize(_)), "{error}");
}

#[tokio::test]
async fn endless_informational_answers_end_with_the_first_byte_timeout() {
    let world = World::with(short());
    let server = serve(|mut peer: Peer| {
        peer.request();
        let many = b"HTTP/1.1 103 Early Hints\r\n\r\n".repeat(1000);
        while peer.say(&many) {}
    });
    let error = with_canary(&world, world.get(&server.url("/"))).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error}");
}

#[tokio::test]
async fn endless_trailers_are_cut_short() {
    let world = World::with(OutboundLimits::default());
    let server = serve(|mut peer: Peer| {
        peer.request();
        peer.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n");
        while peer.say(b"X-Endless: trailer\r\n") {}
    });
    let error = with_canary(&world, world.get(&server.url("/"))).await.unwrap_err();
    let is_known = matches!(
        error,
        Error::HttpProtocolError | Error::HttpResponseHeaderSectionSize(_) | Error::ConnectionTerminated
    );
    assert!(is_known, "{error}");
}

#[tokio::test]
async fn what_is_not_http_is_a_protocol_error() {
    let world = World::with(short());
    for said in [
        &b"SSH-2.0-OpenSSH_9.2\r\n"[..],
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
    ] {
        let error = error_of(&world, said).await;
        assert!(matches!(error, Error::HttpProtocolError), "{error}: {said:?}");
    }
}

#[tokio::test]
async fn an_unasked_upgrade_is_refused() {
    let world = World::with(short());
    let error = error_of(
        &world,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    )
    .await;
    assert!(matches!(error, Error::HttpUpgradeFailed), "{error}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_left_after_the_first_byte_timeout() {
    let world = World::with(short());
    let error = error_of(&world, b"").await;
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error}");
    let error = error_of(&world, b"HTTP/1.1 200 OK\r\nContent-Le").await;
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error}");
}

#[tokio::test]
async fn a_body_that_stops_ends_with_the_idle_timeout() {
    let world = World::with(short());
    let error = error_of(&world, b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello").await;
    assert!(matches!(error, Error::ConnectionReadTimeout), "{error}");
}

#[tokio::test]
async fn a_slow_body_that_goes_on_is_read_to_its_end() {
    let world = World::with(short());
    let server = serve(|mut peer: Peer| {
        peer.request();
        peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n");
        for _ in 0..10 {
            std::thread::sleep(Duration::from_millis(100));
            peer.say(b"x");
        }
        peer.wait_for_end();
    });
    let text = with_canary(&world, world.get(&server.url("/"))).await;
    assert_eq!(text.expect("an answer"), "xxxxxxxxxx");
}

#[tokio::test]
async fn a_body_that_is_cut_off_is_incomplete() {
    let world = World::new();
    for said in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ] {
        let server = serve(move |mut peer: Peer| {
            peer.request();
            peer.say(said);
            peer.shut_down();
            peer.wait_for_end();
        });
        let error = world.get(&server.url("/")).await.unwrap_err();
        let is_known = matches!(error, Error::HttpResponseIncomplete | Error::ConnectionTerminated);
        assert!(is_known, "{error}: {said:?}");
    }
}

#[tokio::test]
async fn what_follows_an_answer_is_not_the_next_one() {
    let world = World::new();
    let server = serve(|mut peer: Peer| {
        peer.request();
        peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged");
        peer.wait_for_end();
    });
    for _ in 0..5 {
        assert_eq!(world.get(&server.url("/")).await.expect("an answer"), "ok");
    }
    assert_eq!(world.stub.connections(), 5);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let world = World::with(short());
    let error = error_of(&world, b"HTTP/1.1 200 OK\r\nContent-Length: 100001\r\n\r\n").await;
    assert!(matches!(error, Error::HttpResponseBodySize(Some(100_001))), "{error}");
    let server = serve(|mut peer: Peer| {
        peer.request();
        peer.say(b"HTTP/1.1 200 OK\r\n\r\n");
        while peer.say(&[b'x'; 4096]) {}
    });
    let error = with_canary(&world, world.get(&server.url("/"))).await.unwrap_err();
    assert!(matches!(error, Error::HttpResponseBodySize(Some(100_000))), "{error}");
}

#[tokio::test]
async fn a_server_that_takes_nothing_is_left_after_the_idle_timeout() {
    let world = World::with(short());
    let server = serve(|peer: Peer| {
        std::thread::sleep(PATIENCE);
        drop(peer);
    });
    let chunks = futures::stream::repeat_with(|| Ok(http_body::Frame::data(Bytes::from_static(&[b'x'; 32768]))));
    let body = BodyExt::boxed_unsync(StreamBody::new(chunks));
    let url = server.url("/");
    let sent = world.send(Method::POST, &url, body);
    let error = with_canary(&world, sent).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionWriteTimeout), "{error}");
}

#[tokio::test]
async fn a_guest_that_is_slow_to_write_is_not_the_servers_fault() {
    let world = World::with(short());
    let server = serve(|mut peer: Peer| peer.wait_for_end());
    let url = server.url("/");
    let sent = world.send(Method::POST, &url, silent());
    let error = timeout(Duration::from_millis(1500), sent).await;
    assert!(error.is_err(), "it ended");
}

#[tokio::test]
async fn no_more_requests_are_under_way_than_may_be() {
    let world = World::with(short());
    let server = serve(|mut peer: Peer| {
        while peer.request().is_some() {
            std::thread::sleep(Duration::from_millis(20));
            if !peer.say(HELLO) {
                return;
            }
        }
    });
    let url = server.url("/");
    let all = join_all((0..100).map(|_| world.get(&url))).await;
    assert!(all.iter().all(|text| matches!(text, Ok(text) if text == "hello\n")));
    let connections = world.stub.connections();
    assert!((1..=8).contains(&connections), "{connections} connections");
}

#[tokio::test]
async fn ten_thousand_requests_at_once_are_answered_or_refused() {
    let world = World::new();
    let server = serve(|mut peer: Peer| while peer.request().is_some() && peer.say(HELLO) {});
    let url = server.url("/");
    let all = with_canary_later(&world, join_all((0..10_000).map(|_| world.get(&url)))).await;
    let answered = all.iter().filter(|text| text.is_ok()).count();
    let refused = |error: &Error| matches!(error, Error::ConnectionLimitReached);
    assert!(answered >= 1000, "{answered}");
    let other = all
        .iter()
        .find_map(|text| text.as_ref().err().filter(|error| !refused(error)));
    assert!(other.is_none(), "{other:?}");
    assert!(world.stub.connections() <= 64, "{}", world.stub.connections());
    assert_eq!(world.client.permits.available_permits(), 64);
    assert_eq!(world.get(&url).await.expect("an answer"), "hello\n");
}

/// As all of them are one handler's, the canary has to wait like the others: only that nothing hangs.
async fn with_canary_later<T>(_: &World, attack: impl Future<Output = T>) -> T {
    timeout(PATIENCE, attack).await.expect("it hangs")
}

#[tokio::test]
async fn failures_of_the_way_out_are_the_right_error_codes() {
    let world = World::new();
    let error = async |name: &str| {
        let error = world.get(&format!("https://{name}/")).await.unwrap_err();
        format!("{error:?}")
    };
    for (name, expected) in [
        (
            "unknown.test",
            "DnsError { rcode: Some(\"NXDOMAIN\"), info_code: None }",
        ),
        ("denied.test", "HttpRequestDenied"),
        ("closed.test", "ConnectionRefused"),
        ("late.test", "ConnectionTimeout"),
        ("far.test", "DestinationIpUnroutable"),
        ("forged.test", "TlsCertificateError"),
        (
            "alert.test",
            "TlsAlertReceived { alert_id: Some(40), alert_message: None }",
        ),
        ("full.test", "ConnectionLimitReached"),
    ] {
        assert_eq!(error(name).await, expected, "{name}");
    }
}

#[tokio::test]
async fn a_connection_that_is_never_made_ends_with_the_connect_timeout() {
    let world = World::with(short());
    let error = world.get("https://silent.test/").await.unwrap_err();
    assert!(matches!(error, Error::ConnectionTimeout), "{error}");
    assert_eq!(world.client.permits.available_permits(), 8);
}

#[tokio::test]
async fn a_guest_can_only_shorten_time_outs() {
    let world = World::with(short());
    let asked = |seconds| Timeouts {
        connect: Some(Duration::from_secs(seconds)),
        first_byte: Some(Duration::from_millis(1)),
        between_bytes: None,
    };
    let timeouts = world.client.timeouts(asked(3600));
    assert_eq!(timeouts.connect, SHORT);
    assert_eq!(timeouts.first_byte, Some(Duration::from_millis(1)));
    assert_eq!(timeouts.between_bytes, SHORT);
}
