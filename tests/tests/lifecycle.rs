//! When the host leaves, and what it tells its service manager.

use std::io::Read;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use harness::{End, Host, Kind, SELF, World, each_kind};

const IDLE: Duration = Duration::from_millis(300);

#[test]
fn a_host_that_nobody_knocks_at_leaves_after_its_idle_timeout() {
    let world = World::new(Kind::P1);
    world.install("hello", "hello");
    world.tcp("hello");
    let start = Instant::now();
    let mut host = world.start(&["--idle-timeout", "300ms"]);
    host.expect_exit(0);
    assert!(start.elapsed() >= IDLE, "left after {:?}", start.elapsed());
    world.start(&["--idle-timeout", "0"]).expect_exit(0);
}

each_kind! { BOTH: the_idle_timeout_counts_from_the_end_of_the_last_connection }
fn the_idle_timeout_counts_from_the_end_of_the_last_connection(kind: Kind) {
    let world = World::new(kind);
    world.configure("[host]\nidle-timeout = \"300ms\"\n");
    let address = world.actor_port("pingpong", "pingpong", "");
    let mut host = world.start(&[]);
    let mut client = address.connect();
    client.send("a\n");
    assert_eq!(client.line(), "a");
    // Well beyond the timeout, with the connection in flight.
    assert!(!host.ends_within(IDLE * 3), "it left its client alone");
    client.send("b\n");
    assert_eq!(client.line(), "b");
    client.finish();
    client.answer().expect_whole("");
    let start = Instant::now();
    drop(client);
    host.expect_exit(0);
    let after = start.elapsed();
    assert!(after >= IDLE - Duration::from_millis(50), "left after {after:?}");
}

#[test]
fn idle_timeout_infinity_is_never() {
    let world = World::new(Kind::P1);
    world.install("hello", "hello");
    world.configure("[host]\nidle-timeout = \"100ms\"\n");
    let address = world.tcp("hello");
    let host = world.start(&["--idle-timeout", "infinity"]);
    assert!(address.knock().text().starts_with("Hello"));
    assert!(!host.ends_within(Duration::from_secs(1)));
    assert!(address.knock().text().starts_with("Hello"));
}

each_kind! { BOTH: idle_timeout_zero_is_after_the_last_connection }
fn idle_timeout_zero_is_after_the_last_connection(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("pingpong", "pingpong", "");
    let mut client = address.connect();
    let mut host = world.start(&["--idle-timeout", "0"]);
    client.send("a\n");
    assert_eq!(client.line(), "a");
    assert!(!host.ends_within(Duration::from_millis(200)));
    drop(client);
    host.expect_exit(0);
}

#[test]
fn a_host_without_connections_leaves_at_once_when_told_to() {
    let world = World::new(Kind::P1);
    world.tcp("hello");
    for signal in [Signal::TERM, Signal::INT] {
        let mut host = world.start(&[]);
        host.notifications.expect("READY=1");
        host.signal(signal);
        host.expect_exit(0);
        host.notifications.expect("STOPPING=1");
    }
}

/// A host with one `pingpong` connection in flight, told to stop.
fn stopping(world: &World) -> (Host, harness::Client, harness::Address) {
    let address = world.actor_port("pingpong", "pingpong", "");
    let host = world.start(&[]);
    let mut client = address.connect();
    client.send("a\n");
    assert_eq!(client.line(), "a");
    host.signal(Signal::TERM);
    host.notifications.expect("STOPPING=1");
    (host, client, address)
}

each_kind! { BOTH: a_host_told_to_stop_finishes_what_is_in_flight_and_leaves_the_rest_to_the_next }
fn a_host_told_to_stop_finishes_what_is_in_flight_and_leaves_the_rest_to_the_next(kind: Kind) {
    let world = World::new(kind);
    let (mut host, mut client, address) = stopping(&world);
    let mut next = address.connect();
    next.send("next\n");
    assert!(!next.hears_anything_within(Duration::from_millis(200)));
    client.send("b\n");
    assert_eq!(client.line(), "b");
    client.finish();
    client.answer().expect_whole("");
    drop(client);
    host.expect_exit(0);
    let _host = world.start(&[]);
    assert_eq!(next.line(), "next");
}

each_kind! { BOTH: a_large_answer_is_delivered_whole_though_the_host_was_told_to_stop }
fn a_large_answer_is_delivered_whole_though_the_host_was_told_to_stop(kind: Kind) {
    let world = World::new(kind);
    let address = world.actor_port("big", "big 10000000", "");
    let mut host = world.start(&[]);
    let mut client = address.connect();
    client.read_exact(&mut [0; 1000]).expect("the beginning");
    host.signal(Signal::TERM);
    host.notifications.expect("STOPPING=1");
    let answer = client.answer();
    assert_eq!((answer.bytes.len(), answer.end), (9_999_000, End::Closed));
    drop(client);
    host.expect_exit(0);
}

#[test]
fn interrupt_and_quit_finish_what_is_in_flight_as_terminate_does() {
    for signal in [Signal::INT, Signal::QUIT] {
        let world = World::new(Kind::P1);
        let address = world.actor_port("pingpong", "pingpong", "");
        let mut host = world.start(&[]);
        let mut client = address.connect();
        client.send("a\n");
        assert_eq!(client.line(), "a");
        host.signal(signal);
        host.notifications.expect("STOPPING=1");
        client.send("b\n");
        assert_eq!(client.line(), "b");
        client.finish();
        client.answer().expect_whole("");
        host.expect_exit(0);
    }
}

#[test]
fn signals_that_mean_nothing_here_are_noted_and_harm_nobody() {
    let world = World::new(Kind::P1);
    world.configure("[host]\ndrain-timeout = \"1h\"\n");
    let address = world.actor_port("pingpong", "pingpong", "");
    let mut host = world.start(&[]);
    let mut client = address.connect();
    let echoes = |client: &mut harness::Client, word: &str| {
        client.send(format!("{word}\n"));
        assert_eq!(client.line(), word);
    };
    echoes(&mut client, "before");
    let ignored = [
        (Signal::USR1, "SIGUSR1"),
        (Signal::USR2, "SIGUSR2"),
        (Signal::IO, "SIGIO"),
        (Signal::PROF, "SIGPROF"),
        (Signal::VTALARM, "SIGVTALRM"),
        (Signal::POWER, "SIGPWR"),
    ];
    for (signal, name) in ignored {
        host.signal(signal);
        host.log.expect(&format!("{name} is ignored"));
        echoes(&mut client, name);
    }
    // And while it drains: none of them is the second signal that ends it at once.
    host.signal(Signal::TERM);
    host.notifications.expect("STOPPING=1");
    for (signal, name) in ignored {
        let before = host.log.count(&format!("{name} is ignored"));
        host.signal(signal);
        harness::eventually("the signal is noted", || {
            host.log.count(&format!("{name} is ignored")) > before
        });
        echoes(&mut client, name);
    }
    client.finish();
    client.answer().expect_whole("");
    host.expect_exit(0);
}

#[test]
fn a_hangup_does_not_end_a_compilation() {
    let world = World::new(Kind::P1);
    world.install_wasm("hello", "hello");
    let address = world.tcp("hello");
    let host = world.start(&[]);
    let mut client = address.connect();
    let children = |parent: i32| -> Vec<i32> {
        let tasks = std::fs::read_dir(format!("/proc/{parent}/task"));
        let tasks = tasks.into_iter().flatten().flatten();
        let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
        let words = |list: String| list.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let pids = lists.flat_map(words);
        pids.filter_map(|pid| pid.parse().ok()).collect()
    };
    // As `systemctl kill -s HUP` does it, to all processes of the service; sooner or later one of them hits. The
    // compiler is the child of a process beside the host.
    let mut hit = false;
    harness::eventually("the compiler has come and gone", || {
        let beside = children(host.pid().as_raw_nonzero().get());
        let compilers: Vec<i32> = beside.into_iter().flat_map(children).collect();
        for pid in &compilers {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            // Before it is that program, it still is this one, whose signals are held.
            if name.is_ok_and(|name| name.starts_with("wasm-sock-comp"))
                && let Some(pid) = rustix::process::Pid::from_raw(*pid)
            {
                hit |= rustix::process::kill_process(pid, Signal::HUP).is_ok();
            }
        }
        hit && compilers.is_empty()
    });
    assert!(client.answer().text().starts_with("Hello"));
}

each_kind! { BOTH: a_second_signal_ends_the_host_at_once_and_resets_what_is_in_flight }
fn a_second_signal_ends_the_host_at_once_and_resets_what_is_in_flight(kind: Kind) {
    let world = World::new(kind);
    world.configure("[host]\ndrain-timeout = \"1h\"\n");
    let (mut host, mut client, _) = stopping(&world);
    assert!(host.is_running());
    host.signal(Signal::TERM);
    host.expect_exit(0);
    client.answer().expect_reset_after("");
}

each_kind! { BOTH: what_is_still_in_flight_after_the_drain_timeout_is_reset }
fn what_is_still_in_flight_after_the_drain_timeout_is_reset(kind: Kind) {
    for timeout in ["300ms", "0"] {
        let world = World::new(kind);
        world.configure(&format!("[host]\ndrain-timeout = {timeout:?}\n"));
        let (mut host, mut client, _) = stopping(&world);
        host.expect_exit(0);
        host.log.expect("still in flight");
        client.answer().expect_reset_after("");
    }
}

each_kind! { BOTH: guests_that_compute_do_not_keep_a_host_from_leaving }
fn guests_that_compute_do_not_keep_a_host_from_leaving(kind: Kind) {
    let world = World::new(kind);
    world.configure("[host]\ndrain-timeout = \"100ms\"\n");
    let address = world.actor_port("spin", "spin", "cpu-time = \"infinity\"");
    let mut host = world.start(&[]);
    let mut clients = [address.connect(), address.connect()];
    host.expect_in_flight(2);
    host.signal(Signal::TERM);
    host.expect_exit(0);
    for client in &mut clients {
        client.answer().expect_reset_after("");
    }
}

#[test]
fn a_signal_during_the_start_is_not_lost_and_loses_nobody() {
    let world = World::new(Kind::P1);
    world.install("hello", "hello");
    let address = world.tcp("hello");
    for _ in 0..50 {
        let mut client = address.connect();
        client.finish();
        let mut host = world.start(&[]);
        host.signal(Signal::TERM);
        let status = host.exit_status();
        drop(host);
        if !client.hears_anything_within(Duration::ZERO) {
            // Not accepted: the next host's.
            let _next = world.start(&[]);
            assert!(client.answer().text().starts_with("Hello"), "after {status}");
            continue;
        }
        let answer = client.answer();
        assert!(answer.text().starts_with("Hello"), "{answer:?} after {status}");
        assert_eq!(answer.end, End::Closed);
    }
}

each_kind! { BOTH: the_service_manager_is_told_ready_status_and_stopping_in_this_order }
fn the_service_manager_is_told_ready_status_and_stopping_in_this_order(kind: Kind) {
    let world = World::new(kind);
    world.install("hello", "hello");
    let address = world.tcp("hello");
    world.tcp("other");
    let mut host = world.start(&["--idle-timeout", "2s"]);
    host.notifications.expect("READY=1");
    for _ in 0..3 {
        address.knock();
    }
    host.notifications.expect("STATUS=2 handlers, 0 in flight, 3 served");
    host.expect_exit(0);
    let told = host.notifications.lines();
    assert_eq!(told[0], "READY=1", "{told:?}");
    assert_eq!(told[told.len() - 1], "STOPPING=1", "{told:?}");
    let status = &told[1..told.len() - 1];
    assert!(status.iter().all(|line| line.starts_with("STATUS=")), "{told:?}");
}

#[test]
fn connections_in_flight_show_in_the_status() {
    let world = World::new(Kind::P1);
    let address = world.actor_port("pingpong", "pingpong", "");
    let host = world.start(&[]);
    let first = address.connect();
    host.expect_in_flight(1);
    let second = address.connect();
    host.expect_in_flight(2);
    drop((first, second));
    host.notifications.expect("STATUS=1 handler, 0 in flight, 2 served");
}

#[test]
fn the_watchdog_is_answered_at_twice_the_rate_when_there_is_one() {
    let world = World::new(Kind::P1);
    world.tcp("hello");
    let launch = world.launch().args(&["--idle-timeout", "1s"]);
    let mut host = launch
        .clone()
        .env("WATCHDOG_USEC", "200000")
        .env("WATCHDOG_PID", SELF)
        .start();
    host.expect_exit(0);
    let told = host.notifications.count("WATCHDOG=1");
    assert!((8..=11).contains(&told), "told {told} times in a second");
    assert_eq!(host.notifications.lines()[0], "READY=1");
    let mut host = launch.start();
    host.expect_exit(0);
    assert_eq!(host.notifications.count("WATCHDOG=1"), 0);
}

#[test]
fn guests_that_spin_do_not_keep_the_watchdog_from_being_answered() {
    let world = World::new(Kind::P1);
    let address = world.actor_port("spin", "spin", "cpu-time = \"2s\"");
    let host = world.launch().env("WATCHDOG_USEC", "200000").start();
    let mut spinning: Vec<_> = (0..4).map(|_| address.connect()).collect();
    host.expect_in_flight(4);
    let before = host.notifications.count("WATCHDOG=1");
    assert!(!spinning[0].hears_anything_within(Duration::from_secs(1)));
    let told = host.notifications.count("WATCHDOG=1") - before;
    // As often as keeps the service alive; it tries to do twice as much.
    assert!(told >= 5, "told {told} times in a second");
    assert_eq!(spinning[0].answer().end, End::Reset);
}
