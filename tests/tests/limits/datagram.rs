//! `max-datagram`: what is larger is no guest's business.

use harness::{Kind, World, each_kind};

each_kind! { BOTH: a_datagram_that_is_larger_is_dropped_and_told_of_a_few_times }
fn a_datagram_that_is_larger_is_dropped_and_told_of_a_few_times(kind: Kind) {
    let world = World::new(kind);
    world.actor("count", "count", "max-datagram = 1000");
    let destinations = [world.udp("count"), world.unix_datagrams("count")];
    let host = world.start(&[]);
    for destination in &destinations {
        let client = destination.connect();
        for _ in 0..5 {
            client.send([b'x'; 1001]);
        }
        let answer = client.ask([b'x'; 1000]);
        assert!(answer.starts_with(b"1000 "), "{answer:?}");
    }
    let line = host.log.expect("`max-datagram`");
    assert!(line.contains("dropped: it has more than 1000 bytes"), "{line}");
    assert_eq!(host.log.count("`max-datagram`"), 5, "{}", host.log.text());
}

each_kind! { BOTH: unix_datagrams_may_be_larger_than_those_of_udp }
fn unix_datagrams_may_be_larger_than_those_of_udp(kind: Kind) {
    let world = World::new(kind);
    world.actor("count", "count", "max-datagram = \"128KiB\"");
    let destination = world.unix_datagrams("count");
    let _host = world.start(&[]);
    let answer = destination.ask(vec![b'x'; 100_000]);
    assert!(answer.starts_with(b"100000 "), "{answer:?}");
}
