//! Work after the answer: a guest of WASI 0.3 goes on when its client has all of its answer, or has left. That counts as
//! in flight and as one of `max-connections`, ends within `timeout` and `cpu-time`, and the host waits for it.

use std::thread;
use std::time::{Duration, Instant};

use harness::{Kind, World, each_kind, eventually, web_host};
use rustix::process::Signal;

each_kind! { HTTP: work_after_the_answer_is_in_flight_until_it_is_done }
fn work_after_the_answer_is_in_flight_until_it_is_done(kind: Kind) {
    let (_world, address, host) = web_host(kind, "");
    address.get("/linger?1500").expect(200, "answered\n");
    host.expect_in_flight(1);
    host.log.expect("lingered 1500 ms");
    host.expect_in_flight(0);
}

#[test]
fn a_guest_goes_on_when_its_client_left_in_the_middle_of_the_answer() {
    let (_world, address, host) = web_host(Kind::P3, "");
    let mut http = address.http();
    http.ask("GET", "/linger-cut?700");
    http.send("");
    let mut begun = false;
    eventually("the answer begins", || {
        begun |= host
            .notifications
            .lines()
            .iter()
            .any(|line| line.contains(" 1 in flight"));
        begun
    });
    drop(http);
    host.log.expect("client left");
    assert_eq!(host.log.count("lingered"), 0, "it ended before");
    host.log.expect("lingered 700 ms");
    host.expect_in_flight(0);
}

each_kind! { HTTP: a_guest_that_goes_on_is_one_of_max_connections }
fn a_guest_that_goes_on_is_one_of_max_connections(kind: Kind) {
    let (_world, address, host) = web_host(kind, "max-connections = 1");
    let mut http = address.http();
    http.get("/linger?1500").expect(200, "answered\n");
    host.expect_in_flight(1);
    let refused = http.get("/hello");
    assert_eq!(refused.status, 503, "{}", host.log.text());
    host.log.expect("lingered 1500 ms");
    eventually("the permit is free again", || http.get("/hello").status == 200);
}

#[test]
fn work_after_the_answer_ends_with_the_timeout_and_the_log_says_so() {
    let (_world, address, host) = web_host(Kind::P3, "timeout = \"500ms\"");
    address.get("/linger?20000").expect(200, "answered\n");
    host.log
        .expect("work after the answer ended: went on for more than 500ms after its answer (raise `timeout`");
    host.expect_in_flight(0);
    assert_eq!(host.log.count("lingered"), 0);
}

#[test]
fn work_after_the_answer_ends_with_cpu_time_and_the_log_says_so() {
    let (_world, address, host) = web_host(Kind::P3, "cpu-time = \"300ms\"\ntimeout = \"30s\"");
    address.get("/linger-spin").expect(200, "answered\n");
    let started = Instant::now();
    host.log
        .expect("work after the answer ended: used more than 300ms of CPU time");
    assert!(started.elapsed() < Duration::from_secs(10), "{}", host.log.text());
    host.expect_in_flight(0);
    address.get("/hello").expect(200, "hello\n");
}

#[test]
fn a_trap_after_the_answer_is_in_the_log_and_takes_no_answer_with_it() {
    let (_world, address, host) = web_host(Kind::P3, "");
    address.get("/linger-trap?300").expect(200, "answered\n");
    host.log.expect("work after the answer ended: ");
    address.get("/hello").expect(200, "hello\n");
    host.expect_in_flight(0);
}

each_kind! { HTTP: the_host_drains_work_after_the_answer }
fn the_host_drains_work_after_the_answer(kind: Kind) {
    let (_world, address, mut host) = web_host(kind, "");
    address.get("/linger?1500").expect(200, "answered\n");
    host.expect_in_flight(1);
    host.signal(Signal::TERM);
    host.log.expect("lingered 1500 ms");
    host.expect_exit(0);
}

#[test]
fn work_that_outlasts_the_drain_is_ended_and_the_log_says_so() {
    let world = World::new(Kind::P3);
    let address = world.web_port("web", "");
    world.configure("[host]\ndrain-timeout = \"300ms\"");
    let mut host = world.start(&[]);
    address.get("/linger?20000").expect(200, "answered\n");
    host.expect_in_flight(1);
    host.signal(Signal::TERM);
    host.log.expect("ended: the host exits");
    host.expect_exit(0);
}

/// The host is not idle while a guest works without a client.
#[test]
fn the_idle_timeout_begins_when_the_work_is_done() {
    let world = World::new(Kind::P3);
    let address = world.web_port("web", "");
    let mut host = world.start(&["--idle-timeout", "500ms"]);
    address.get("/linger?2000").expect(200, "answered\n");
    thread::sleep(Duration::from_millis(1200));
    assert!(host.is_running());
    // It has not begun to drain: this client is served by the same process.
    address.get("/hello").expect(200, "hello\n");
    assert_eq!(host.log.count("lingered"), 0);
    host.log.expect("lingered 2000 ms");
    host.expect_exit(0);
}

/// Wasmtime does not tell whose work goes on: an instance that is never without some is replaced in time.
#[test]
fn new_requests_do_not_keep_former_work_alive() {
    let settings = "timeout = \"1s\"\nreuse = 100000";
    let (_world, address, host) = web_host(Kind::P3, settings);
    let mut http = address.http();
    http.get("/linger?10000").expect(200, "answered\n");
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        http.get("/sleep?20").expect(200, "slept 20 ms\n");
    }
    host.log.expect("work after the answer ended: went on for more than 1s");
    assert_eq!(host.log.count("lingered"), 0);
}
