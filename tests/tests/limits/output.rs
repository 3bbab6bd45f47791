//! `max-output`: what a guest may send.

use harness::{End, Kind, World, each_kind, web_host};

const LIMIT: &str = "max-output = \"100000\"";

each_kind! { ALL: a_guest_that_sends_more_than_it_may_is_reset }
fn a_guest_that_sends_more_than_it_may_is_reset(kind: Kind) {
    let world = World::new(kind);
    world.actor("big", "big 100001", LIMIT);
    let (tcp, unix) = (world.tcp("big"), world.unix("big"));
    let host = world.start(&[]);
    let answer = tcp.knock();
    assert_eq!(answer.end, End::Reset);
    assert!(answer.bytes.len() <= 100_000, "{}", answer.bytes.len());
    let line = host.log.expect("ended: ");
    assert!(
        line.contains("big 127.0.0.1:") && line.contains("`max-output`"),
        "{line}"
    );
    assert!(unix.knock().bytes.len() <= 100_000);
    harness::eventually("both were told of", || host.log.count("`max-output`") == 2);
}

each_kind! { ALL: a_guest_may_send_all_that_it_may }
fn a_guest_may_send_all_that_it_may(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("big", "big 100000", LIMIT);
    let _host = world.start(&[]);
    let answer = address.knock();
    assert_eq!((answer.bytes.len(), answer.end), (100_000, End::Closed));
}

each_kind! { BOTH: a_guest_that_sends_for_ever_is_ended }
fn a_guest_that_sends_for_ever_is_ended(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("flood", "flood", LIMIT);
    let host = world.start(&[]);
    let answer = address.knock();
    assert_eq!(answer.end, End::Reset);
    host.log.expect("`max-output`");
}

#[test]
fn packets_are_counted_together() {
    let world = World::new(Kind::P1);
    world.actor("big", "big 200000", LIMIT);
    let packets = world.packets("big");
    let host = world.start(&[]);
    let (came, _) = packets.connect().packets();
    assert_eq!(came.iter().map(Vec::len).sum::<usize>(), 65_536);
    host.log.expect("`max-output`");
}

each_kind! { HTTP: the_body_of_each_http_answer_has_the_limit }
fn the_body_of_each_http_answer_has_the_limit(kind: Kind) {
    let (_world, address, host) = web_host(kind, LIMIT);
    let mut http = address.http();
    for _ in 0..3 {
        assert_eq!(http.get("/big?100000").body.len(), 100_000);
    }
    let mut client = address.connect();
    client.send("GET /big?100001 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.answer().end, End::Reset);
    let line = host.log.expect("GET /big 200: ended: ");
    assert!(line.contains("`max-output`"), "{line}");
}

each_kind! { ALL: a_datagram_that_is_larger_is_not_sent }
fn a_datagram_that_is_larger_is_not_sent(kind: Kind) {
    let world = World::new(kind);
    world.actor("big", "big 1000", "max-output = 999");
    world.actor("fits", "big 999", "max-output = 999");
    let (big, fits) = (world.udp("big"), world.udp("fits"));
    let host = world.start(&[]);
    big.connect().send("?");
    let line = host.log.expect("its answer was not sent");
    assert!(line.contains("`max-output`"), "{line}");
    assert_eq!(fits.ask("?").len(), 999);
}
