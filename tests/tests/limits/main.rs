//! Every limit is enforced, and its log line names the setting.

mod datagram;
mod idle_connections;
mod log;
mod output;
mod request_sources;
mod sources;
mod stack;
mod whole_host;

use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, prlimit};

use harness::{Address, Client, End, Kind, World, each_kind};

/// The connection is reset, and the log says why.
fn is_ended(kind: Kind, part: &str, setting: &str, before: &str, named: &str) {
    let world = World::new(kind);
    let address = world.actor_port("guest", part, setting);
    let host = world.start(&[]);
    address.knock().expect_reset_after(before);
    let line = host.log.expect("guest 127.0.0.1:");
    assert!(line.contains("ended: ") && line.contains(named), "{line}");
}

each_kind! { BOTH: a_guest_that_spins_is_ended_after_its_cpu_time }
fn a_guest_that_spins_is_ended_after_its_cpu_time(kind: Kind) {
    for part in ["spin", "spin-calls"] {
        is_ended(kind, part, "cpu-time = \"300ms\"", "", "`cpu-time`");
    }
}

each_kind! { BOTH: cpu_time_is_counted_and_not_time }
fn cpu_time_is_counted_and_not_time(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("lazy", "never-read 600", "cpu-time = \"100ms\"");
    let _host = world.start(&[]);
    address.knock().expect_whole("done\n");
}

each_kind! { BOTH: a_guest_that_sleeps_is_ended_after_its_timeout }
fn a_guest_that_sleeps_is_ended_after_its_timeout(kind: Kind) {
    let start = Instant::now();
    is_ended(kind, "sleep", "timeout = \"300ms\"", "up\n", "`timeout`");
    assert!(start.elapsed() >= Duration::from_millis(300));
}

each_kind! { BOTH: a_guest_that_waits_for_its_client_is_ended_after_its_timeout }
fn a_guest_that_waits_for_its_client_is_ended_after_its_timeout(kind: Kind) {
    is_ended(kind, "wait-eof", "timeout = \"300ms\"", "", "`timeout`");
}

each_kind! { BOTH: a_guest_whose_client_does_not_read_is_ended_after_its_timeout }
fn a_guest_whose_client_does_not_read_is_ended_after_its_timeout(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("flood", "flood", "timeout = \"300ms\"");
    let host = world.start(&[]);
    let mut client = address.connect();
    let line = host.log.expect("flood 127.0.0.1:");
    assert!(line.contains("`timeout`"), "{line}");
    assert_eq!(client.answer().end, End::Reset);
}

each_kind! { BOTH: a_guest_that_asks_for_more_memory_than_its_limit_is_refused_it }
fn a_guest_that_asks_for_more_memory_than_its_limit_is_refused_it(kind: Kind) {
    for (limit, mebibytes) in [("8MiB", 8), ("32MiB", 32)] {
        let world = World::new(kind);
        let setting = format!("memory = {limit:?}\ncpu-time = \"60s\"");
        let address = world.actor_port("greedy", "allocate", &setting);
        let _host = world.start(&[]);
        let answer = address.knock();
        assert_eq!(answer.end, End::Closed, "{answer:?}");
        let got = answer.text();
        let got: u64 = got.trim_end_matches(" MiB\n").parse().expect("N MiB");
        assert!(got < mebibytes && got + 4 > mebibytes, "{got} of {limit}");
    }
}

each_kind! { BOTH: a_guest_that_dies_of_its_memory_limit_is_reset_with_a_line_that_names_it }
fn a_guest_that_dies_of_its_memory_limit_is_reset_with_a_line_that_names_it(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("greedy", "allocate-trap", "memory = \"8MiB\"");
    let host = world.start(&[]);
    address.knock().expect_reset_after("");
    let line = host.log.expect("ended: ");
    assert!(line.contains("`memory`"), "{line}");
}

/// ```wat
/// (module
///   (table 0 funcref)
///   (memory (export "memory") 0)
///   (func (export "_start")
///     ref.null func  i32.const 1000  table.grow 0
///     i32.const -1  i32.eq  if  unreachable  end))
/// ```
const THOUSAND_ELEMENTS: &[u8] = b"\0asm\x01\0\0\0\
    \x01\x04\x01\x60\0\0\x03\x02\x01\0\x04\x04\x01\x70\0\0\x05\x03\x01\0\0\
    \x07\x13\x02\x06memory\x02\0\x06_start\0\0\
    \x0a\x13\x01\x11\0\xd0\x70\x41\xe8\x07\xfc\x0f\0\x41\x7f\x46\x04\x40\0\x0b\x0b";

#[test]
fn a_guest_that_grows_its_tables_beyond_their_limit_is_refused_it() {
    let world = World::new(Kind::P1);
    for (handler, most) in [("fits", 1000), ("greedy", 999)] {
        world.compile(THOUSAND_ELEMENTS, handler);
        world.configure(&format!("[handler.{handler}]\ntable-elements = {most}\n"));
    }
    let (fits, greedy) = (world.tcp("fits"), world.tcp("greedy"));
    let host = world.start(&[]);
    fits.knock().expect_whole("");
    greedy.knock().expect_reset_after("");
    let line = host.log.expect("ended: ");
    assert!(
        line.contains("greedy 127.0.0.1:") && line.contains("`table-elements`"),
        "{line}"
    );
}

/// Knocks and is sure to be accepted.
fn accepted(address: &Address) -> Client {
    let mut client = address.connect();
    client.send("in?\n");
    assert_eq!(client.line(), "in?");
    client
}

each_kind! { BOTH: a_client_beyond_max_connections_waits_until_another_leaves }
fn a_client_beyond_max_connections_waits_until_another_leaves(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("two", "pingpong", "max-connections = 2");
    world.install("hello", "hello");
    let hello = world.tcp("hello");
    let _host = world.start(&[]);
    let (first, _second) = (accepted(&address), accepted(&address));
    let mut third = address.connect();
    third.send("third\n");
    assert!(!third.hears_anything_within(Duration::from_millis(300)));
    assert!(hello.knock().text().starts_with("Hello"), "other handlers go on");
    drop(first);
    assert_eq!(third.line(), "third");
}

#[test]
fn several_sockets_of_one_handler_share_its_connections_and_none_starves() {
    let world = World::new(Kind::P1);
    world.actor("one", "pingpong", "max-connections = 1");
    let addresses = [world.tcp("one"), world.tcp("one"), world.unix("one")];
    let _host = world.start(&[]);
    for address in addresses.iter().chain(&addresses) {
        let client = accepted(address);
        client.finish();
    }
}

#[test]
fn an_idle_socket_takes_no_connection_from_another_of_its_handler() {
    let world = World::new(Kind::P1);
    world.actor("two", "pingpong", "max-connections = 2");
    let (busy, _idle) = (world.tcp("two"), world.tcp("two"));
    let _host = world.start(&[]);
    let _both = (accepted(&busy), accepted(&busy));
}

each_kind! { BOTH: with_too_few_descriptors_clients_wait_and_all_are_served }
fn with_too_few_descriptors_clients_wait_and_all_are_served(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("eof", "wait-eof", "");
    let mut clients: Vec<Client> = (0..100).map(|_| address.connect()).collect();
    let host = world.launch().descriptors(40).start();
    host.log.expect("not accepting: ");
    let before = host.cpu_time();
    assert!(!clients[99].hears_anything_within(Duration::from_millis(500)));
    let used = host.cpu_time() - before;
    assert!(used <= Duration::from_millis(50), "used {used:?} of 500 ms to wait");
    assert_eq!(host.log.count("not accepting: "), 1, "told once");
    for client in &clients {
        client.finish();
    }
    for (number, client) in clients.iter_mut().enumerate() {
        let answer = client.answer();
        assert_eq!((number, answer.text().as_str()), (number, "eof\n"));
    }
}

each_kind! { BOTH: when_the_kernel_gives_no_more_descriptors_the_host_rests_and_tries_again }
fn when_the_kernel_gives_no_more_descriptors_the_host_rests_and_tries_again(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("eof", "wait-eof", "");
    let host = world.start(&[]);
    let mut first = address.connect();
    host.expect_in_flight(1);
    let limit = |current| {
        let rlimit = Rlimit {
            current: Some(current),
            maximum: Some(1024),
        };
        prlimit(Some(host.pid()), Resource::Nofile, rlimit).expect("prlimit");
    };
    // Fewer than the host has already.
    limit(4);
    let mut second = address.connect();
    host.log.expect("not accepting: ");
    let before = host.cpu_time();
    assert!(!second.hears_anything_within(Duration::from_millis(500)));
    let used = host.cpu_time() - before;
    assert!(used <= Duration::from_millis(50), "used {used:?} of 500 ms to wait");
    limit(1024);
    for client in [&mut first, &mut second] {
        client.finish();
        assert_eq!(client.answer().text(), "eof\n");
    }
}
