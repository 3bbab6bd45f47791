//! Signals to a keeper, and to its host.

use super::{host, keeper, keeper_for, wait_until_asleep, world};
use harness::{Kind, World, eventually};
use rustix::process::{Signal, kill_process, test_kill_process};
use std::fs;
use std::thread::sleep;
use std::time::Duration;

#[test]
fn a_keeper_that_is_asleep_ends_at_once() {
    for signal in [Signal::TERM, Signal::INT, Signal::QUIT] {
        let world = world();
        world.tcp("hello");
        let mut keeper = keeper(&world);
        keeper.signal(signal);
        keeper.expect_exit(0);
        assert_eq!(keeper.notifications.count("STOPPING=1"), 1);
    }
}

/// A client whose guest ends when it does, and the keeper of its host.
fn held() -> (World, harness::Host, harness::Client) {
    let world = World::new(Kind::P2);
    let address = world.actor_port("slow", "version hold", "");
    let keeper = keeper_for(&world, "20ms");
    let mut client = address.connect();
    assert_eq!(client.line(), "version 1");
    (world, keeper, client)
}

#[test]
fn a_stop_is_passed_on_and_waits_for_the_clients() {
    let (_world, mut keeper, mut client) = held();
    keeper.signal(Signal::TERM);
    sleep(Duration::from_millis(200));
    assert!(keeper.is_running());
    client.finish();
    client.answer().expect_whole("");
    keeper.expect_exit(0);
}

#[test]
fn a_stop_that_all_processes_get_is_one_stop() {
    let (_world, mut keeper, mut client) = held();
    let host = host(&keeper);
    // `systemctl kill`
    keeper.signal(Signal::TERM);
    kill_process(host, Signal::TERM).expect("signal");
    sleep(Duration::from_millis(300));
    client.finish();
    client.answer().expect_whole("");
    keeper.expect_exit(0);
}

#[test]
fn a_second_stop_ends_what_is_in_flight() {
    let (_world, mut keeper, mut client) = held();
    keeper.signal(Signal::TERM);
    eventually("the host was told", || keeper.notifications.count("STOPPING=1") == 1);
    sleep(Duration::from_millis(100));
    keeper.signal(Signal::TERM);
    client.answer().expect_reset_after("");
    keeper.expect_exit(0);
}

#[test]
fn a_keeper_that_is_killed_takes_its_host_along() {
    let (_world, keeper, client) = held();
    let host = host(&keeper);
    keeper.kill();
    client.finish();
    eventually("the host has ended", || {
        test_kill_process(host).is_err() || is_zombie(host)
    });
}

/// Ended, and not waited for: its new parent, the first process of a container, may not.
fn is_zombie(pid: rustix::process::Pid) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[test]
fn a_hangup_reloads_the_host_or_is_answered_for_it() {
    let world = World::new(Kind::P2);
    world.actor("x", "env", "env = { COLOUR = \"red\" }");
    let address = world.tcp("x");
    let keeper = keeper_for(&world, "400ms");
    keeper.signal(Signal::HUP);
    keeper.notifications.expect("RELOADING=1");
    keeper.notifications.expect("MONOTONIC_USEC=");
    eventually("it is ready again", || keeper.notifications.count("READY=1") == 2);
    assert!(keeper.children().is_empty(), "it has started a host");
    assert!(address.knock().text().contains("COLOUR=red\n"));
    let config = world.path("config/wasm-sock.toml");
    let text = fs::read_to_string(&config).expect("read").replace("red", "green");
    fs::write(&config, text).expect("write");
    let before = host(&keeper);
    keeper.signal(Signal::HUP);
    keeper
        .log
        .expect("reload: applied: new connections get the new settings of x");
    assert!(address.knock().text().contains("COLOUR=green\n"));
    assert_eq!(host(&keeper), before, "it is another host");
    wait_until_asleep(&keeper);
}

#[test]
fn what_the_watchdog_does_to_a_keeper_happens_to_its_host() {
    let (_world, mut keeper, _client) = held();
    let host = host(&keeper);
    kill_process(host, Signal::STOP).expect("stop");
    keeper.signal(Signal::ABORT);
    let status = keeper.exit_status();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(libc::SIGABRT)
    );
    assert!(test_kill_process(host).is_err(), "the host is still there");
}

#[test]
fn the_watchdog_is_for_hosts_only() {
    let world = world();
    let address = world.tcp("hello");
    let launch = world
        .launch()
        .env("WATCHDOG_USEC", "600000")
        .env("WATCHDOG_PID", "<pid>");
    let keeper = launch.args(&["--when-idle", "park", "--idle-timeout", "1s"]).start();
    keeper.notifications.expect("WATCHDOG_USEC=0");
    assert!(address.knock().text().starts_with("Hello, "));
    wait_until_asleep(&keeper);
    eventually("the watchdog is off again", || {
        keeper.notifications.count("WATCHDOG_USEC=0") == 2
    });
    let told = keeper.notifications.lines();
    let of_watchdog: Vec<&str> = told
        .iter()
        .filter(|line| line.starts_with("WATCHDOG"))
        .map(String::as_str)
        .collect();
    let last = of_watchdog.len() - 1;
    assert_eq!(
        (of_watchdog[0], of_watchdog[last]),
        ("WATCHDOG_USEC=0", "WATCHDOG_USEC=0")
    );
    assert!(
        of_watchdog[1..last].contains(&"WATCHDOG_USEC=600000"),
        "{of_watchdog:?}"
    );
    // The first from the keeper, the others from its host.
    let alive = of_watchdog.iter().filter(|line| **line == "WATCHDOG=1").count();
    assert!(alive >= 3, "{of_watchdog:?}");
}
