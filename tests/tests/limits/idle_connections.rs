//! `idle-connection-timeout`: a connection with not a byte either way ends, however long it may last.

use std::thread::sleep;
use std::time::{Duration, Instant};

use harness::{Client, End, Kind, World, each_kind, web_host};

const LIMIT: &str = "timeout = \"infinity\"\nidle-connection-timeout = \"400ms\"";
const SILENCE: Duration = Duration::from_millis(400);

each_kind! { BOTH: a_silent_connection_is_reset_and_one_that_speaks_now_and_then_is_not }
fn a_silent_connection_is_reset_and_one_that_speaks_now_and_then_is_not(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("chat", "pingpong", LIMIT);
    let host = world.start(&[]);
    let mut client = address.connect();
    let start = Instant::now();
    while start.elapsed() < 3 * SILENCE {
        client.send("still here\n");
        assert_eq!(client.line(), "still here");
        sleep(SILENCE / 4);
    }
    let start = Instant::now();
    assert_eq!(client.answer().end, End::Reset);
    assert!(start.elapsed() > SILENCE / 2, "{:?}", start.elapsed());
    let line = host.log.expect("ended: ");
    assert!(line.contains("chat 127.0.0.1:") && line.contains("`idle-connection-timeout`"));
}

each_kind! { BOTH: a_client_that_takes_nothing_is_silent_too }
fn a_client_that_takes_nothing_is_silent_too(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("flood", "flood", LIMIT);
    let host = world.start(&[]);
    let mut client = address.connect();
    host.log.expect("`idle-connection-timeout`");
    assert_eq!(client.answer().end, End::Reset);
}

each_kind! { ALL: unix_sockets_and_packets_have_the_limit }
fn unix_sockets_and_packets_have_the_limit(kind: Kind) {
    let world = World::new(kind);
    let part = if kind == Kind::P3 { "echo" } else { "pingpong" };
    world.actor("chat", part, LIMIT);
    let (unix, packets) = (world.unix("chat"), world.packets("chat"));
    let host = world.start(&[]);
    let mut client = unix.connect();
    assert_ne!(client.answer().end, End::TimedOut);
    let client = packets.connect();
    assert_ne!(client.packets().1, End::TimedOut);
    harness::eventually("both were told of", || host.log.count("`idle-connection-timeout`") == 2);
}

fn request(client: &mut Client, line: &str, rest: &str) {
    client.send(format!("{line} HTTP/1.1\r\nHost: a\r\n{rest}"));
}

each_kind! { HTTP: an_http_body_that_comes_no_further_is_reset }
fn an_http_body_that_comes_no_further_is_reset(kind: Kind) {
    let (_world, address, host) = web_host(kind, LIMIT);
    let mut client = address.connect();
    request(&mut client, "POST /echo-late", "Content-Length: 9\r\n\r\nhalf");
    assert_eq!(client.answer().end, End::Reset);
    let line = host.log.expect("POST /echo-late");
    assert!(line.contains("`idle-connection-timeout`"), "{line}");
}

each_kind! { HTTP: an_http_answer_that_nobody_takes_is_reset }
fn an_http_answer_that_nobody_takes_is_reset(kind: Kind) {
    let (_world, address, host) = web_host(kind, LIMIT);
    let mut client = address.connect();
    request(&mut client, "GET /big?100000000", "\r\n");
    let line = host.log.expect("GET /big");
    assert!(line.contains("`idle-connection-timeout`"), "{line}");
    assert_eq!(client.answer().end, End::Reset);
}

each_kind! { HTTP: an_http_guest_may_think_for_longer_and_a_slow_body_may_come }
fn an_http_guest_may_think_for_longer_and_a_slow_body_may_come(kind: Kind) {
    let (_world, address, _host) = web_host(kind, LIMIT);
    assert_eq!(address.get("/sleep?1000").status, 200);
    let mut client = address.connect();
    request(
        &mut client,
        "POST /echo-late",
        "Connection: close\r\nContent-Length: 9\r\n\r\n",
    );
    for byte in "by and by".bytes() {
        sleep(SILENCE / 4);
        client.send([byte]);
    }
    let answer = client.answer();
    assert_eq!(answer.end, End::Closed);
    assert!(answer.text().starts_with("HTTP/1.1 200"), "{answer:?}");
}
