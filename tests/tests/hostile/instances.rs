//! Guests that take memory and time before their first instruction: by what their instances consist of.

use std::time::{Duration, Instant};

use harness::{Address, Host, Kind, World, eventually};

use crate::TIME;
use crate::attack::{Attack, Clients};

const MIB: u64 = 1024 * 1024;

/// What a host takes that serves a canary and a few others.
const ROOM: u64 = 64 * MIB;

/// What the log says of a guest whose instance is too large to be made.
const REFUSED: &str = "its instance needs more memory than it may have (raise `memory`";

/// A component that is `$m`, instantiated so many times, with `shared` before it, and a command that does `run`.
fn component(count: usize, shared: &str, module: &str, run: &str) -> Vec<u8> {
    let with = match shared {
        "" => "",
        _ => "(with \"shared\" (instance $shared))",
    };
    let instances = format!("(core instance (instantiate $m {with}))\n").repeat(count);
    let text = format!(
        r#"(component
        {shared}
        (core module $m {module})
        {instances}
        (core module $command (func (export "run") (result i32) {run} (i32.const 0)))
        (core instance $c (instantiate $command))
        (func $run (result (result)) (canon lift (core func $c "run")))
        (instance $run (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $run)))"#
    );
    wat::parse_str(text).expect("valid text")
}

/// So many globals, of which each takes 16 bytes.
fn globals(count: usize) -> String {
    "(global i64 (i64.const 1))".repeat(count)
}

/// About so many MiB of globals.
fn of_globals(mebibytes: usize, run: &str) -> Vec<u8> {
    component(mebibytes / 10, "", &globals(650_000), run)
}

fn for_ever() -> &'static str {
    "(loop $again (br $again))"
}

/// A world with a hostile guest, beside a canary.
fn world_with(module: &[u8], settings: &str) -> (World, Address) {
    world_of(module, &format!("{TIME}\n{settings}"))
}

fn world_of(module: &[u8], settings: &str) -> (World, Address) {
    let world = World::alone(Kind::P2);
    world.compile(module, "hostile");
    world.configure(&format!("[handler.hostile]\n{settings}\n"));
    let target = world.tcp("hostile");
    (world, target)
}

/// The guest is refused before it takes anything, and its neighbours do not notice.
fn is_refused(module: &[u8], settings: &str) {
    let (world, target) = world_with(module, settings);
    let log = Attack::new(&world, target)
        .clients(Clients::TwentyASecond)
        .shows(REFUSED)
        .holds_at_most(ROOM)
        .besiege();
    assert_eq!(log.count(": served"), log.count("canary "), "{}", log.text());
}

#[test]
fn instances_with_gigabytes_of_globals() {
    is_refused(&component(250, "", &globals(500_000), ""), "");
}

#[test]
fn a_module_with_more_globals_than_memory() {
    let start = r#"(func (export "_start")) (memory (export "memory") 1)"#;
    let module = format!("(module {start} {})", globals(200_000));
    let module = wat::parse_str(module).expect("valid text");
    is_refused(&module, "memory = \"2MiB\"");
}

/// Not even one of them is large; each copies it anew.
#[test]
fn instances_that_copy_one_segment_into_one_memory_over_and_over() {
    let shared = r#"(core module $s (memory (export "memory") 16)) (core instance $shared (instantiate $s))"#;
    let segment = "x".repeat(MIB as usize);
    let module = format!(r#"(import "shared" "memory" (memory 16)) (data (i32.const 0) "{segment}")"#);
    is_refused(&component(200, shared, &module, ""), "memory = \"64MiB\"");
}

/// As [`instances_that_copy_one_segment_into_one_memory_over_and_over`], of references.
#[test]
fn instances_that_copy_one_segment_into_one_table_over_and_over() {
    let shared =
        r#"(core module $s (table (export "table") 100000 funcref)) (core instance $shared (instantiate $s))"#;
    let module = format!(
        r#"(import "shared" "table" (table 100000 funcref)) (func $f) (elem (i32.const 0) func {})"#,
        "$f ".repeat(100_000)
    );
    is_refused(
        &component(200, shared, &module, ""),
        "memory = \"64MiB\"\ntable-elements = 1000000",
    );
}

#[test]
fn instances_with_as_many_globals_as_fit_into_memory() {
    let (world, target) = world_with(&of_globals(60, for_ever()), "");
    Attack::new(&world, target)
        .clients(Clients::TwentyASecond)
        .shows(crate::ENDED)
        .besiege();
}

/// As much as may be copied.
#[test]
fn instances_that_copy_as_much_as_fits_into_memory() {
    let shared = r#"(core module $s (memory (export "memory") 16)) (core instance $shared (instantiate $s))"#;
    let segment = "x".repeat(MIB as usize);
    let module = format!(r#"(import "shared" "memory" (memory 16)) (data (i32.const 0) "{segment}")"#);
    let (world, target) = world_with(&component(62, shared, &module, for_ever()), "");
    Attack::new(&world, target)
        .clients(Clients::TwentyASecond)
        .shows(crate::ENDED)
        .besiege();
}

#[test]
fn twenty_guests_with_many_globals_are_served() {
    // Making an instance takes 40 ms, and several times that on a busy machine.
    let (world, target) = world_of(&of_globals(60, ""), "cpu-time = \"10s\"\ntimeout = \"30s\"");
    let host = world.start(&[]);
    let clients: Vec<_> = (0..20).map(|_| target.connect()).collect();
    for mut client in clients {
        client.answer().expect_whole("");
    }
    eventually("all were served", || host.log.count(": served ") == 20);
}

/// What each may have is more than there is for all: two have a place.
#[test]
fn what_instances_take_counts_into_the_memory_of_all() {
    let (world, target) = world_with(&of_globals(40, for_ever()), "");
    world.configure("[host]\nmax-memory = \"100MiB\"\n");
    world.install("canary", "echo");
    let canary = world.tcp("canary");
    let host = world.start(&[]);
    canary.ask("before").expect_whole("before");
    let clients: Vec<_> = (0..30).map(|_| target.connect()).collect();
    eventually("most are refused", || refused_for_all(&host) >= 20);
    let start = Instant::now();
    // It is small enough to find a place among them.
    canary.ask("tweet").expect_whole("tweet");
    let took = start.elapsed();
    assert!(took < Duration::from_millis(500), "{took:?}");
    for mut client in clients {
        client.answer().expect_reset_after("");
    }
    host.expect_in_flight(0);
    let (refused, peak) = (refused_for_all(&host), host.memory("VmHWM:"));
    eprintln!("{refused} were refused, {} MiB", peak / MIB);
    assert!(refused < 30, "none was let in");
    assert!(peak < 100 * MIB + ROOM, "the host took {peak} bytes");
    // What they had is given back.
    target.knock().expect_reset_after("");
    host.expect_in_flight(0);
    assert_eq!(refused_for_all(&host), refused, "{}", host.log.text());
}

fn refused_for_all(host: &Host) -> usize {
    host.log
        .count("ended: all guests together ran out of memory (raise `max-memory`")
}
