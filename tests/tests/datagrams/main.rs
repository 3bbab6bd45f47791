//! Each datagram is one run of the guest: what it reads is the datagram, what it writes the answer.

mod addresses;
mod answers;
mod dropped;
mod queue;
mod unread_answers;

use harness::{Destination, Host, Kind, World, eventually};

/// The most that a UDP datagram of IPv4 can carry, in bytes.
const LARGEST: usize = 65_507;

/// One socket of every sort for this handler.
fn every_sort(world: &World, handler: &str) -> [Destination; 4] {
    [
        world.udp(handler),
        world.udp_at(handler, "::1"),
        world.unix_datagrams(handler),
        world.abstract_datagrams(handler),
    ]
}

/// What bytes the actor's `big` writes.
fn big(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n % 251) as u8).collect()
}

/// Waits until this many lines have `text` in them.
#[track_caller]
fn expect_lines(host: &Host, text: &str, count: usize) {
    eventually(&format!("{count} lines said {text:?}"), || {
        host.log.count(text) >= count
    });
    assert_eq!(host.log.count(text), count, "{}", host.log.text());
}

/// A part that never ends, or not soon.
fn sleeping(kind: Kind) -> &'static str {
    match kind {
        Kind::P3 => "sleep 3600000",
        Kind::P1 | Kind::P2 => "sleep",
    }
}
