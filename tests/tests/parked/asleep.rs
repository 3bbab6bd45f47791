//! What a keeper is while no host runs: next to nothing.

use super::{keeper, wait_until_asleep, world};
use harness::{Host, skip};
use rustix::process::geteuid;
use std::fs;
use std::thread::sleep;
use std::time::Duration;

/// The memory of the keeper, what it shares divided among those that share it (`Pss` of proc_pid_smaps(5)), in KiB.
pub fn proportional_memory(keeper: &Host) -> u64 {
    // Of a process that others of its user must not look into, only root knows.
    if !geteuid().is_root() {
        skip("only root is told how much memory a keeper takes");
        return 0;
    }
    let text = keeper.proc("smaps_rollup");
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next());
    kibibytes.and_then(|number| number.parse().ok()).expect("a number")
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name} in {status}")).trim()
}

#[test]
fn it_takes_less_than_100_kib_and_never_wakes() {
    let world = world();
    let address = world.tcp("hello");
    let keeper = keeper(&world);
    assert!(address.knock().text().starts_with("Hello, "));
    wait_until_asleep(&keeper);
    // It tells the manager, and waits again.
    sleep(Duration::from_millis(200));
    let kibibytes = proportional_memory(&keeper);
    assert!(kibibytes <= 100, "it takes {kibibytes} KiB");
    let switches = || field(&keeper.proc("status"), "voluntary_ctxt_switches:").to_owned();
    let before = switches();
    sleep(Duration::from_secs(2));
    assert_eq!(switches(), before, "it was awake meanwhile");
    assert_eq!(field(&keeper.proc("status"), "Threads:"), "1");
}

#[test]
fn it_is_confined_and_its_hosts_are_as_ever() {
    let world = world();
    let address = world.tcp("hello");
    let keeper = super::keeper_for(&world, "5s");
    let status = keeper.proc("status");
    for (name, value) in [("NoNewPrivs:", "1"), ("Seccomp:", "2"), ("Seccomp_filters:", "1")] {
        assert_eq!(field(&status, name), value, "{name}");
    }
    let maps = keeper.proc("maps");
    let executable: Vec<&str> = maps.lines().filter(|line| line.contains("xp ")).collect();
    let is_own = |line: &&&str| line.ends_with("/wasm-sock-keeper") || line.ends_with("[vsyscall]");
    assert!(executable.iter().all(|line| is_own(&line)), "{maps}");
    assert!(!maps.contains("rwx"), "{maps}");
    assert!(address.knock().text().starts_with("Hello, "));
    let host = fs::read_to_string(format!("/proc/{}/status", super::host(&keeper))).expect("read");
    assert_eq!(
        field(&host, "Seccomp_filters:"),
        "2",
        "the keeper's, and the host's own"
    );
    assert!(!keeper.log.text().contains("not confined"), "{}", keeper.log.text());
}
