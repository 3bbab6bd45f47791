//! HTTP/2: servers that keep to it, written with `h2`, and frames that no server should send.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

const PREFACE: usize = 24;

/// A server that answers each request with its path, after `delay`.
fn server(delay: Duration) -> (server::Server, Arc<AtomicUsize>) {
    let most = Arc::<AtomicUsize>::default();
    let seen = most.clone();
    let server = serve(move |peer: Peer| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(answer_all(peer, delay, &seen));
    });
    (server, most)
}

/// `most`: the largest number of requests on one connection at a time.
async fn answer_all(peer: Peer, delay: Duration, most: &Arc<AtomicUsize>) {
    let stream = tokio::net::TcpStream::from_std(peer.into_stream()).expect("a stream");
    let mut connection = h2::server::handshake(stream).await.expect("a preface");
    let now = Arc::<AtomicUsize>::default();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (now, most) = (now.clone(), most.clone());
        tokio::spawn(async move {
            most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
            tokio::time::sleep(delay).await;
            now.fetch_sub(1, SeqCst);
            assert!(!request.headers().contains_key("host"), "{request:?}");
            let authority = request.uri().authority().map(ToString::to_string).unwrap_or_default();
            let text = format!("{authority} {}", request.uri().path());
            if let Ok(mut body) = respond.send_response(Response::new(()), false) {
                let _ = body.send_data(text.into(), true);
            }
        });
    }
}

#[tokio::test]
async fn requests_at_the_same_time_share_connections() {
    let world = World::new();
    let (server, most) = server(Duration::from_millis(50));
    let urls: Vec<String> = (0..40).map(|n| server.tls_url("h2.test", &format!("/{n}"))).collect();
    let all = join_all(urls.iter().map(|url| world.get(url))).await;
    for (n, text) in all.into_iter().enumerate() {
        let text = text.expect("an answer");
        assert!(
            text.starts_with("h2.test:") && text.ends_with(&format!(" /{n}")),
            "{text}"
        );
    }
    assert_eq!(world.stub.connections(), 3, "sixteen each");
    assert_eq!(most.load(SeqCst), 16);
    for _ in 0..10 {
        world.get(&urls[0]).await.expect("an answer");
    }
    assert_eq!(world.stub.connections(), 3);
}

/// A certificate that is good for several names does not make them one origin.
#[tokio::test]
async fn no_two_names_share_a_connection() {
    let world = World::new();
    let (server, _) = server(Duration::ZERO);
    let url = server.tls_url("h2.test", "/");
    world.get(&url).await.expect("an answer");
    let error = world.get(&server.tls_url("closed.test", "/")).await.unwrap_err();
    assert!(matches!(error, Error::ConnectionRefused), "{error}");
    let http = server.tls_url("h2.test", "/").replacen("https", "http", 1);
    assert!(
        world
            .client
            .pool
            .take(&Origin::of(&http.parse().unwrap()).unwrap())
            .is_none()
    );
}

#[tokio::test]
async fn a_server_that_chose_http1_gets_http1() {
    let world = World::new();
    let server = serve(|mut peer: Peer| while peer.request().is_some() && peer.say(HELLO) {});
    let url = server.tls_url("h1.test", "/");
    let all = join_all((0..8).map(|_| world.get(&url))).await;
    assert!(all.iter().all(Result::is_ok), "{all:?}");
}

#[tokio::test]
async fn answers_that_are_not_read_do_not_hold_up_others_on_the_connection() {
    let world = World::new();
    let server = serve(|peer: Peer| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(flood(peer));
    });
    let url = server.tls_url("h2.test", "/flood");
    let mut unread = Vec::new();
    for _ in 0..15 {
        unread.push(world.send(Method::GET, &url, empty()).await.expect("an answer"));
    }
    // The windows of fifteen streams are full.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let small = server.tls_url("h2.test", "/small");
    assert_eq!(world.get(&small).await.expect("an answer"), "small");
    assert_eq!(world.stub.connections(), 1);
    drop(unread);
    assert_eq!(world.client.permits.available_permits(), 64);
}

async fn flood(peer: Peer) {
    let stream = tokio::net::TcpStream::from_std(peer.into_stream()).expect("a stream");
    let mut connection = h2::server::handshake(stream).await.expect("a preface");
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let mut body = respond.send_response(Response::new(()), false).expect("a stream");
        if request.uri().path() == "/small" {
            let _ = body.send_data(Bytes::from_static(b"small"), true);
        } else {
            let _ = body.send_data(vec![b'x'; 10 << 20].into(), true);
        }
    }
}

/// A frame (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The error of a request to a server that sends an empty SETTINGS frame, and then what `attack` makes, on and on.
async fn error_of(limits: OutboundLimits, attack: impl Fn(u32) -> Vec<u8> + Send + Sync + 'static) -> Error {
    let world = World::with(limits);
    let server = serve(move |mut peer: Peer| {
        peer.take(PREFACE);
        peer.say(&frame(4, 0, 0, &[]));
        let mut round = 0;
        while peer.say(&attack(round)) && round < 5_000_000 {
            round += 1;
        }
    });
    let url = server.tls_url("h2.test", "/");
    match hostile::with_canary(&world, world.get(&url)).await {
        Ok(text) => panic!("it was answered: {text:?}"),
        Err(error) => error,
    }
}

fn is_ended(error: &Error) -> bool {
    matches!(
        error,
        Error::HttpProtocolError
            | Error::ConnectionTerminated
            | Error::ConnectionReadTimeout
            | Error::HttpResponseHeaderSectionSize(_)
    )
}

#[tokio::test]
async fn abuse_of_http2_ends_the_request_and_nothing_else() {
    type Attack = fn(u32) -> Vec<u8>;
    let attacks: [(&str, Attack); 9] = [
        ("pings", |_| frame(6, 0, 0, &[0; 8]).repeat(100)),
        ("settings", |_| frame(4, 0, 0, &[0, 3, 0, 0, 0, 1]).repeat(100)),
        ("continuations", |round| match round {
            0 => frame(1, 0, 1, &[0x88]),
            _ => frame(9, 0, 1, &[0x40, 1, b'a', 1, b'b'].repeat(100)),
        }),
        ("empty continuations", |round| match round {
            0 => frame(1, 0, 1, &[0x88]),
            _ => frame(9, 0, 1, &[]).repeat(100),
        }),
        ("empty data", |round| match round {
            0 => frame(1, 4, 1, &[0x88]),
            _ => frame(0, 0, 1, &[]).repeat(100),
        }),
        ("pushes", |round| {
            frame(5, 4, 1, &[&(2 * round + 2).to_be_bytes()[..], &[0x82]].concat())
        }),
        ("window", |_| frame(8, 0, 0, &0x7fff_ffffu32.to_be_bytes())),
        ("resets", |_| frame(3, 0, 1, &[0, 0, 0, 8]).repeat(100)),
        ("noise", |_| vec![0xff; 4096]),
    ];
    let limits = OutboundLimits {
        first_byte_timeout: Some(Duration::from_secs(1)),
        idle_timeout: Some(Duration::from_secs(1)),
        ..OutboundLimits::default()
    };
    for (name, attack) in attacks {
        let error = error_of(limits, attack).await;
        assert!(is_ended(&error), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_over_http2_is_refused() {
    let fields = [0x00, 3, b'x', b'-', b'y', 100].into_iter().chain([b'z'; 100]);
    let fields: Vec<u8> = fields.collect();
    let error = error_of(OutboundLimits::default(), move |round| match round {
        0 => frame(1, 0, 1, &[&[0x88][..], &fields.repeat(150)].concat()),
        _ => frame(9, 0, 1, &fields.repeat(150)),
    });
    let error = error.await;
    assert!(is_ended(&error), "{error:?}");
}

#[tokio::test]
async fn a_body_of_another_length_than_promised_over_http2_is_an_error() {
    for (promised, sent) in [("3", "four"), ("5", "four")] {
        let world = World::new();
        let server = serve(move |peer: Peer| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let stream = tokio::net::TcpStream::from_std(peer.into_stream()).expect("a stream");
                let mut connection = h2::server::handshake(stream).await.expect("a preface");
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let response = Response::builder().header("content-length", promised).body(());
                    let body = respond.send_response(response.expect("a head"), false);
                    let _ = body
                        .expect("a stream")
                        .send_data(Bytes::from_static(sent.as_bytes()), true);
                }
            });
        });
        let error = world.get(&server.tls_url("h2.test", "/")).await;
        assert!(error.is_err(), "{promised}: {error:?}");
    }
}
