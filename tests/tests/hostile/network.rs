//! A guest without `allow-outbound` can neither connect nor be connected to.

use std::net::TcpListener;

use harness::{Kind, World, each_kind};

each_kind! { BOTH: every_way_into_the_network_is_refused }
fn every_way_into_the_network_is_refused(kind: Kind) {
    let world = World::new(kind);
    // It would be answered if it were let.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let reach = world.actor_port("reach", &format!("network {address} localhost"), "");
    let _host = world.start(&[]);
    let attempts = reach.knock().text();
    for attempt in attempts.lines() {
        assert!(attempt.contains(": refused: "), "{attempt}");
    }
    assert_eq!(attempts.lines().count(), 21, "{attempts}");
    assert!(listener.accept().is_err(), "it reached the listener");
}
