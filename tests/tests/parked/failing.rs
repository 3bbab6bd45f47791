//! Hosts that fail: the keeper stays, says why, and starts no more than a few a second.

use super::{host, keeper, keeper_for, wait_until_asleep, world};
use harness::{Host, World, eventually, wasm_sock};
use rustix::process::{Signal, kill_process};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

/// A keeper whose host is a copy that the test can replace.
fn keeper_of_a_copy(world: &World) -> (Host, PathBuf) {
    let copy = world.path("run/wasm-sock");
    harness::copy_program(&wasm_sock(), &copy);
    let keeper = copy.with_file_name("wasm-sock-keeper");
    harness::copy_program(&wasm_sock().with_file_name("wasm-sock-keeper"), &keeper);
    let launch = world.launch().program(&copy);
    let keeper = launch.args(&["--when-idle", "park", "--idle-timeout", "20ms"]).start();
    keeper.notifications.expect("READY=1");
    (keeper, copy)
}

/// Another program in the place of the host, which notes each start in the file `starts`.
fn replace(host: &Path, last_words: &str) {
    let script = host.with_file_name("new");
    let starts = host.with_file_name("starts");
    let text = format!("#!/bin/sh\necho start >>{}\n{last_words}\n", starts.display());
    fs::write(&script, text).expect("write");
    fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).expect("chmod");
    fs::rename(&script, host).expect("rename");
}

fn starts(host: &Path) -> usize {
    let starts = fs::read_to_string(host.with_file_name("starts"));
    starts.map_or(0, |text| text.lines().count())
}

#[test]
fn hosts_that_end_at_once_are_started_a_few_times_a_second_at_most() {
    // An exit code of a failure, and that of a host that accepted nothing: the socket stays readable.
    for (last_words, most, is_logged) in [("exit 3", 4, true), ("exit 75", 14, false)] {
        let world = world();
        let address = world.tcp("hello");
        let (keeper, program) = keeper_of_a_copy(&world);
        replace(&program, last_words);
        let mut client = address.connect();
        sleep(Duration::from_millis(2500));
        let starts = starts(&program);
        assert!((2..=most).contains(&starts), "{last_words}: {starts} starts in 2.5 s");
        let said = keeper.log.count("wasm-sock-keeper: the host exited with 3");
        assert_eq!(said, usize::from(is_logged), "{}", keeper.log.text());
        if is_logged {
            keeper.notifications.expect("; the last host exited with 3");
        }
        // The client has waited, and is served when there is a host again.
        let next = program.with_file_name("next");
        harness::copy_program(&wasm_sock(), &next);
        fs::rename(next, &program).expect("rename");
        assert!(client.answer().text().starts_with("Hello, "));
        assert!(
            keeper.cpu_time() < Duration::from_millis(200),
            "{:?}",
            keeper.cpu_time()
        );
    }
}

#[test]
fn a_program_that_is_missing_for_a_while_costs_no_client() {
    let world = world();
    let address = world.tcp("hello");
    let (keeper, program) = keeper_of_a_copy(&world);
    let away = program.with_file_name("away");
    fs::rename(&program, &away).expect("rename");
    let mut client = address.connect();
    let line = keeper
        .log
        .expect("the host could not be started: there is no such file (");
    assert!(line.contains(program.to_str().unwrap()), "{line}");
    fs::rename(&away, &program).expect("rename");
    assert!(client.answer().text().starts_with("Hello, "));
}

#[test]
fn a_host_that_is_killed_takes_its_connections_along_and_nothing_else() {
    let world = world();
    world.actor("slow", "hold", "");
    let (address, slow) = (world.tcp("hello"), world.tcp("slow"));
    let keeper = keeper_for(&world, "5s");
    let _held = slow.connect();
    kill_process(host(&keeper), Signal::KILL).expect("kill");
    keeper
        .log
        .expect("wasm-sock-keeper: the host was killed by signal 9 (did it run out of memory?)");
    assert!(address.knock().text().starts_with("Hello, "));
    keeper.notifications.expect("; the last host was killed by signal 9");
}

#[test]
fn a_bad_configuration_turns_clients_away_and_the_next_host_reads_it_again() {
    let world = world();
    let address = world.tcp("hello");
    let keeper = keeper(&world);
    let config = world.path("config/wasm-sock.toml");
    fs::write(&config, "[host]\nidle-tiemout = 1\n").expect("configure");
    address.knock().expect_reset_after("");
    keeper.log.expect("unknown key \"idle-tiemout\"");
    fs::remove_file(&config).expect("remove");
    eventually("the host has left", || keeper.children().is_empty());
    keeper.notifications.expect("; the last host exited with 78");
    assert!(address.knock().text().starts_with("Hello, "));
}

#[test]
fn a_client_that_leaves_before_it_is_accepted_wakes_one_host() {
    let world = world();
    let address = world.tcp("hello");
    let (keeper, program) = keeper_of_a_copy(&world);
    address.connect().vanish();
    wait_until_asleep(&keeper);
    sleep(Duration::from_millis(600));
    assert!(
        keeper.cpu_time() < Duration::from_millis(100),
        "{:?}",
        keeper.cpu_time()
    );
    assert!(address.knock().text().starts_with("Hello, "));
    drop(program);
}
