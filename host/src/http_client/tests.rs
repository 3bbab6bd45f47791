//! The client against servers that misbehave, over a stand-in for `wasm-sock-egress` that connects to them, and says
//! that they have chosen HTTP/2 where a test needs it.

mod egress;
mod hostile;
mod http2;
mod server;

use super::*;
use crate::config::OutboundLimits;
use ::http::{HeaderMap, Method, Request, Response};
use bytes::Bytes;
use egress::{Stub, no_report};
use futures::future::join_all;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use server::{Peer, serve};
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;
use tokio::time::timeout;
use wasmtime_wasi_http::{Error, WasiBody};

const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Option<Duration> = Some(Duration::from_millis(300));

fn empty() -> WasiBody {
    Empty::new().map_err(|never| match never {}).boxed_unsync()
}

fn full(text: &'static str) -> WasiBody {
    Full::new(Bytes::from_static(text.as_bytes()))
        .map_err(|never| match never {})
        .boxed_unsync()
}

/// A body that never has anything.
fn silent() -> WasiBody {
    BodyExt::boxed_unsync(StreamBody::new(futures::stream::pending()))
}

struct World {
    client: Arc<Client>,
    guest: GuestClient,
    stub: Stub,
}

impl World {
    fn new() -> Self {
        Self::with(OutboundLimits::default())
    }

    fn with(limits: OutboundLimits) -> Self {
        let stub = Stub::start();
        let client = Client::new("web".into(), limits, stub.egress());
        let guest = client.for_guest();
        Self { client, guest, stub }
    }

    /// Sends a request to `url`.
    async fn send(&self, method: Method, url: &str, body: WasiBody) -> Result<Response<WasiBody>, Error> {
        let request = Request::builder()
            .method(method)
            .uri(url)
            .body(body)
            .expect("a request");
        let origin = Origin::of(request.uri()).expect("an origin");
        let sent = self.guest.send(request, origin, Timeouts::default(), no_report);
        timeout(PATIENCE, sent).await.expect("it hangs")
    }

    async fn get(&self, url: &str) -> Result<String, Error> {
        let response = self.send(Method::GET, url, empty()).await?;
        text(response).await
    }
}

async fn text(response: Response<WasiBody>) -> Result<String, Error> {
    let body = timeout(PATIENCE, response.into_body().collect())
        .await
        .expect("it hangs")?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection() {
    let world = World::new();
    let server = serve(|mut peer: Peer| while peer.request().is_some() && peer.say(HELLO) {});
    for _ in 0..10_000 {
        assert_eq!(world.get(&server.url("/")).await.expect("an answer"), "hello\n");
    }
    assert_eq!(world.stub.connections(), 1);
}

#[tokio::test]
async fn what_a_server_gets_is_what_was_checked() {
    let world = World::new();
    let server = serve(|mut peer: Peer| {
        let request = peer.request().expect("a request");
        peer.say_text(&request);
    });
    let url = server.url("/a/b?c=d");
    let request = Request::builder()
        .uri(&url)
        .header("Host", "other.example")
        .header("TE", "gzip")
        .body(empty());
    let request = request.expect("a request");
    let origin = Origin::of(request.uri()).expect("an origin");
    let answer = world.guest.send(request, origin, Timeouts::default(), no_report).await;
    let seen = text(answer.expect("an answer")).await.expect("a body");
    let authority = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split('/').next())
        .unwrap();
    assert!(seen.starts_with("GET /a/b?c=d HTTP/1.1\r\n"), "{seen}");
    assert!(
        seen.to_lowercase().contains(&format!("\r\nhost: {authority}\r\n")),
        "{seen}"
    );
    assert!(!seen.contains("other.example") && !seen.contains("gzip"), "{seen}");
    assert!(seen.contains("te: trailers"), "{seen}");
}

#[tokio::test]
async fn a_redirect_is_the_guests_to_follow() {
    let world = World::new();
    let server = serve(|mut peer: Peer| {
        peer.request();
        peer.say(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    });
    let response = world
        .send(Method::GET, &server.url("/"), empty())
        .await
        .expect("an answer");
    assert_eq!(response.status(), 302);
    assert_eq!(world.stub.connections(), 1);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_is_replaced() {
    let world = World::new();
    let server = serve(|mut peer: Peer| {
        peer.request();
        peer.say(HELLO);
    });
    for _ in 0..50 {
        assert_eq!(world.get(&server.url("/")).await.expect("an answer"), "hello\n");
    }
    assert_eq!(world.stub.connections(), 50);
}

/// A server may have acted on it before it closed the connection.
#[tokio::test]
async fn a_request_that_is_not_idempotent_is_sent_once() {
    let world = World::new();
    let server = serve(|mut peer: Peer| {
        if peer.request().is_some_and(|request| request.starts_with("GET")) {
            peer.say(HELLO);
            assert!(peer.request().is_some_and(|request| request.starts_with("POST")));
        }
    });
    world.get(&server.url("/")).await.expect("an answer");
    let answer = world.send(Method::POST, &server.url("/"), full("body")).await;
    assert!(matches!(
        answer,
        Err(Error::ConnectionTerminated | Error::HttpResponseIncomplete)
    ));
    assert_eq!(world.stub.connections(), 1);
}

#[tokio::test]
async fn an_answer_that_is_not_read_to_its_end_takes_its_connection_with_it() {
    let world = World::new();
    let server = serve(|mut peer: Peer| {
        while peer.request().is_some() && peer.say(b"HTTP/1.1 200 OK\r\nContent-Length: 600000\r\n\r\nhello\n") {}
    });
    for _ in 0..3 {
        let response = world
            .send(Method::GET, &server.url("/"), empty())
            .await
            .expect("an answer");
        drop(response);
    }
    assert_eq!(world.stub.connections(), 3);
    assert_eq!(world.client.permits.available_permits(), 64);
}

#[tokio::test]
async fn trailers_go_both_ways() {
    let world = World::new();
    let server = serve(|mut peer: Peer| {
        let request = peer.request_until(b"0\r\n").expect("a chunked request");
        let rest = peer.line();
        assert_eq!(rest.to_lowercase(), "x-sum: 4\r\n", "{request}");
        peer.say(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 3\r\n\r\n",
        );
    });
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "4".parse().expect("a value"));
    let body = full("four").with_trailers(std::future::ready(Some(Ok(trailers))));
    let request = Request::builder()
        .method(Method::POST)
        .uri(server.url("/"))
        .header("Trailer", "x-sum")
        .header("Transfer-Encoding", "chunked")
        .body(BodyExt::boxed_unsync(body));
    let request = request.expect("a request");
    let origin = Origin::of(request.uri()).expect("an origin");
    let answer = world.guest.send(request, origin, Timeouts::default(), no_report).await;
    let body = answer.expect("an answer").into_body().collect().await.expect("a body");
    assert_eq!(body.trailers().and_then(|trailers| trailers.get("x-sum")).unwrap(), "3");
}
