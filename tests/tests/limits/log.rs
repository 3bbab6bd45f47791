//! `max-log`: a guest that floods its log fills neither the journal nor its neighbours' time.

use std::time::{Duration, Instant};

use harness::{BOTH, End, Host, Kind, World, each_kind, eventually, median};

/// Half of this many lines are one guest's.
const LIMIT: &str = "max-log = 20";

/// Exactly ten of its lines came, and one that says how many did not.
#[track_caller]
fn is_heard_ten_times(host: &Host, handler: &str) {
    let dropped = host.log.expect("`max-log`");
    let named = format!("{handler} 127.0.0.1:");
    assert!(
        dropped.contains(&named) && dropped.contains(" lines dropped "),
        "{dropped}"
    );
    host.log.expect("ended: ");
    assert_eq!(host.log.count(": flood "), 10, "{}", host.log.text());
    assert_eq!(host.log.count("`max-log`"), 1, "{}", host.log.text());
}

each_kind! { BOTH: a_guest_that_floods_its_log_is_heard_a_little_and_ended_after_its_cpu_time }
fn a_guest_that_floods_its_log_is_heard_a_little_and_ended_after_its_cpu_time(kind: Kind) {
    let world = World::new(kind);
    let settings = format!("cpu-time = \"300ms\"\n{LIMIT}");
    let address = world.actor_port("noisy", "log-flood", &settings);
    let host = world.start(&[]);
    address.knock().expect_reset_after("");
    is_heard_ten_times(&host, "noisy");
    let end = host.log.expect("ended: ");
    assert!(end.contains("`cpu-time`"), "{end}");
}

each_kind! { HTTP: an_http_guest_that_prints_to_nobody_is_heard_a_little }
fn an_http_guest_that_prints_to_nobody_is_heard_a_little(kind: Kind) {
    let world = World::new(kind);
    let settings = format!("cpu-time = \"300ms\"\nreuse = 1\n{LIMIT}");
    let address = world.web_port("web", &settings);
    let host = world.start(&[]);
    assert_eq!(address.get("/log-flood").status, 500);
    is_heard_ten_times(&host, "web");
}

#[test]
fn neighbours_answer_while_guests_flood_their_log() {
    for part in ["log-flood", "log-flood-at-once"] {
        for kind in BOTH {
            let world = World::alone(kind);
            let settings = format!("cpu-time = \"60s\"\n{LIMIT}");
            let noisy = world.actor_port("noisy", part, &settings);
            world.install("hello", "hello");
            let hello = world.tcp("hello");
            let host = world.start(&[]);
            let _noisy: Vec<_> = (0..4).map(|_| noisy.connect()).collect();
            host.expect_in_flight(4);
            let time = |_| {
                let start = Instant::now();
                assert!(hello.knock().text().starts_with("Hello"));
                start.elapsed()
            };
            // Not the slowest: a machine that is busy with others may stand still for a second.
            let middle = median((0..50).map(time).collect());
            assert!(middle < Duration::from_millis(100), "{kind:?}: {middle:?}");
            assert!(host.log.count("noisy 127.0.0.1:") <= 20, "{}", host.log.text());
        }
    }
}

#[test]
fn guests_of_one_handler_share_what_they_may_log() {
    let world = World::new(Kind::P1);
    let address = world.actor_port("chatty", "log 15", LIMIT);
    let quiet = world.actor_port("quiet", "log 3", LIMIT);
    let host = world.start(&[]);
    for _ in 0..3 {
        address.knock().expect_whole("ok\n");
    }
    quiet.knock().expect_whole("ok\n");
    for count in [5, 15] {
        host.log.expect(&format!(": {count} lines dropped "));
    }
    // A guest's own lines come before this one.
    eventually("all were served", || host.log.count(": served ") == 4);
    let lines = host.log.lines();
    let logged = |name: &str| {
        let is_its = |line: &&String| line.contains(name) && line.contains(": line ");
        lines.iter().filter(is_its).count()
    };
    assert_eq!((logged("chatty "), logged("quiet ")), (20, 3), "{lines:?}");
}

#[test]
fn without_a_limit_every_line_is_logged() {
    let world = World::new(Kind::P1);
    let address = world.actor_port("chatty", "log 3000", "max-log = \"infinity\"");
    let host = world.start(&[]);
    let answer = address.knock();
    assert_eq!((answer.text().as_str(), answer.end), ("ok\n", End::Closed));
    host.log.expect("chatty 127.0.0.1:");
    host.log.expect(": line 2999");
    assert_eq!(host.log.count("`max-log`"), 0);
}
