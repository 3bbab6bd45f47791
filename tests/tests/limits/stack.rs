//! `stack`: how deep a guest may call itself.

use harness::{End, Host, Kind, World, each_kind};

/// More than 64 KiB of stack, and less than 2 MiB.
const DEEP: &str = "recurse 15000";

/// A guest that calls itself `DEEP` ends like this in a host with these settings.
fn ends(kind: Kind, settings: &str) -> (World, Host, End) {
    let world = World::new(kind);
    world.configure(settings);
    let address = world.actor_port("deep", DEEP, "");
    let host = world.start(&[]);
    let answer = address.knock();
    if answer.end == End::Closed {
        assert_eq!(answer.text(), "15000 deep\n");
    }
    (world, host, answer.end)
}

each_kind! { BOTH: a_guest_that_calls_itself_too_deep_is_reset_with_a_line_that_names_the_limit }
fn a_guest_that_calls_itself_too_deep_is_reset_with_a_line_that_names_the_limit(kind: Kind) {
    let (_world, host, end) = ends(kind, "[host]\nstack = \"64KiB\"\n");
    assert_eq!(end, End::Reset);
    let line = host.log.expect("ended: ");
    assert!(line.contains("`stack`"), "{line}");
}

each_kind! { BOTH: one_that_needs_more_stack_is_given_it_by_the_same_artifact }
fn one_that_needs_more_stack_is_given_it_by_the_same_artifact(kind: Kind) {
    let (_world, _host, end) = ends(kind, "[host]\nstack = \"2MiB\"\n");
    assert_eq!(end, End::Closed);
}

each_kind! { BOTH: guests_of_the_pool_have_as_much_stack }
fn guests_of_the_pool_have_as_much_stack(kind: Kind) {
    let world = World::new(kind);
    world.configure("[host]\nstack = \"2MiB\"\n");
    let address = world.actor_port("deep", DEEP, "");
    let _host = world.start(&[]);
    for _ in 0..64 {
        address.knock().expect_whole("15000 deep\n");
    }
}
