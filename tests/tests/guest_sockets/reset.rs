//! A reset is not the end of the input.

use harness::{Kind, World, each_kind};

use super::{LONG, expect_line, module};

/// A guest takes these steps, and its client resets the connection after the first, which tells it what it sent.
/// After that the guest is told of the reset so often.
fn is_reset_in_between(steps: &str, times: usize) {
    let world = World::new(Kind::P1);
    let steps = format!("read 0 64; tell 1; {steps}");
    world.compile(&module(&steps), "steps");
    let address = world.tcp("steps");
    let host = world.start(&[]);
    let mut client = address.connect();
    client.send("half of it");
    expect_line(&mut client, "0 10 half of it");
    client.vanish();
    host.log.expect("10 bytes in");
    // ECONNRESET
    let told = host.log.lines();
    let told = told.iter().filter(|line| line.ends_with(": 15")).count();
    assert_eq!(told, times, "{}", host.log.text());
}

#[test]
fn a_core_module_that_reads_from_a_client_that_reset_is_told_so_whenever_it_reads() {
    is_reset_in_between("read 0 64; tell 2; read 0 64; tell 2", 2);
}

#[test]
fn a_core_module_that_waited_first_is_told_of_the_reset_too() {
    let wait = format!("poll 1 0 {LONG}");
    is_reset_in_between(&format!("{wait}; tell 2; read 0 64; tell 2"), 1);
}

#[test]
fn a_core_module_that_met_the_reset_when_it_wrote_does_not_read_an_end_afterwards() {
    is_reset_in_between("fill 1; tell 2; read 0 64; tell 2", 1);
}

/// A guest plays `part`, its client resets the connection after half of an upload, and stderr gets a line with
/// `words`.
fn is_told_of_a_reset(kind: Kind, part: &str, words: &str) {
    let world = World::new(kind);
    let address = world.actor_port("upload", part, "");
    let host = world.start(&[]);
    let mut client = address.connect();
    assert_eq!(client.line(), "ready");
    client.send("half of it");
    client.vanish();
    host.log.expect("10 bytes in");
    assert_eq!(host.log.count(words), 1, "{kind:?}: {}", host.log.text());
}

each_kind! { ALL: an_upload_that_was_reset_is_not_taken_for_a_whole_one_by_std }
fn an_upload_that_was_reset_is_not_taken_for_a_whole_one_by_std(kind: Kind) {
    is_told_of_a_reset(kind, "receive", ": broken after ");
}

#[test]
fn a_stream_whose_client_reset_fails_and_is_not_closed() {
    is_told_of_a_reset(Kind::P2, "receive-raw", ": last-operation-failed: ");
}

each_kind! { ALL: an_upload_that_was_ended_is_whole }
fn an_upload_that_was_ended_is_whole(kind: Kind) {
    let world = World::new(kind);
    world.actor("upload", "receive", "");
    for address in [world.tcp("upload"), world.unix("upload")] {
        let host = world.start(&[]);
        address.ask("all of it").expect_whole("ready\n");
        host.log.expect(": whole: 9 bytes");
    }
}
