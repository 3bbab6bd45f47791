//! Hostile guests. Each runs beside a well-behaved guest in the same host, the canary, whose answers stay right and
//! come in time: 99 of a hundred within three times what it takes without the attack, measured just before, and
//! one tick of the scheduler. Machines are noisy: it may take three attempts.

mod attack;
mod escapes;
mod instances;
mod instructions;
mod log_text;
mod network;

use std::fs;

use attack::{Attack, Clients};
use harness::{BOTH, Kind, World, each_kind};
use rustix::fs::{CWD, FileType, Mode, mknodat};

/// What nearly all of them get: enough time to do harm.
const TIME: &str = "cpu-time = \"200ms\"\ntimeout = \"10s\"";

/// Guests of both kinds that play `part` beside a canary.
fn beside_a_canary(part: &str, settings: &str, evidence: &str) {
    for kind in BOTH {
        let world = World::alone(kind);
        let target = world.actor_port("hostile", part, &format!("{TIME}\n{settings}"));
        Attack::new(&world, target).shows(evidence).besiege();
    }
}

/// As [`beside_a_canary`], with a folder `/data` that has a file in it, and more.
fn with_data(part: &str, evidence: &str) {
    for kind in BOTH {
        let world = World::alone(kind);
        fs::create_dir(world.path("data")).unwrap();
        for number in 0..2000 {
            fs::write(world.path(&format!("data/{number}")), "").unwrap();
        }
        fs::write(world.path("data/file"), "x").unwrap();
        let data = world.path("data");
        let settings = format!("{TIME}\ndirs = [{{ host = {data:?}, guest = \"/data\" }}]");
        let target = world.actor_port("hostile", part, &settings);
        Attack::new(&world, target).shows(evidence).besiege();
    }
}

const ENDED: &str = "used more than 200ms of CPU time (raise `cpu-time`";

#[test]
fn memory_that_is_taken_over_and_over() {
    beside_a_canary("allocate", "memory = \"32MiB\"", " MiB");
}

#[test]
fn memory_that_is_taken_until_the_guest_dies_of_it() {
    beside_a_canary("allocate-trap", "memory = \"32MiB\"", "raise `memory`");
}

/// Half a million objects stay, and are copied by each collection of those that come and go.
const COLLECTS_FOR_EVER: &str = r#"(module
    (type $node (struct (field (ref null $node)) (field i64)))
    (memory (export "memory") 1)
    (func (export "_start") (local $kept (ref null $node)) (local $left i32)
      (local.set $left (i32.const 500000))
      (loop $more
        (local.set $kept (struct.new $node (local.get $kept) (i64.const 1)))
        (br_if $more (local.tee $left (i32.sub (local.get $left) (i32.const 1)))))
      (loop $for_ever
        (drop (struct.new $node (ref.null $node) (i64.const 2)))
        (br $for_ever))))"#;

#[test]
fn a_heap_of_objects_that_is_collected_over_and_over() {
    let world = World::alone(Kind::P1);
    world.compile(&wat::parse_str(COLLECTS_FOR_EVER).unwrap(), "hostile");
    world.configure(&format!("[handler.hostile]\n{TIME}\n"));
    let target = world.tcp("hostile");
    Attack::new(&world, target).shows(ENDED).besiege();
}

#[test]
fn recursion_without_end() {
    beside_a_canary("recurse-for-ever", "", "call stack exhausted");
}

#[test]
fn tables_that_grow_without_end() {
    let world = World::alone(Kind::P1);
    world.compile(&table_growth(), "hostile");
    world.configure(&format!("[handler.hostile]\nmemory = \"32MiB\"\n{TIME}\n"));
    let target = world.tcp("hostile");
    Attack::new(&world, target).shows("raise `table-elements`").besiege();
}

/// A core module whose `_start` lets a table of functions grow, by 65,536 elements a time, until it is
/// refused, and then fails.
fn table_growth() -> Vec<u8> {
    let sections: [&[u8]; 5] = [
        // Type 0 takes nothing and returns nothing; function 0 and table 0 follow.
        &[1, 4, 1, 0x60, 0, 0],
        &[3, 2, 1, 0],
        &[4, 4, 1, 0x70, 0, 0],
        &[7, 10, 1, 6, b'_', b's', b't', b'a', b'r', b't', 0, 0],
        // loop: ref.null func; i32.const 65536; table.grow 0; i32.const -1; i32.ne; br_if 0; end
        &[
            10, 22, 1, 20, 0, 0x03, 0x40, 0xd0, 0x70, 0x41, 0x80, 0x80, 0x04, 0xfc, 0x0f, 0, 0x41, 0x7f, 0x47, 0x0d,
            0, 0x0b, 0x00, 0x0b,
        ],
    ];
    [b"\0asm\x01\0\0\0".as_slice(), &sections.concat()].concat()
}

#[test]
fn a_loop_without_calls() {
    beside_a_canary("spin", "", ENDED);
}

#[test]
fn a_loop_that_reads_clocks() {
    beside_a_canary("calls clocks", "", ENDED);
}

#[test]
fn a_loop_that_yields() {
    beside_a_canary("calls yield", "", ENDED);
}

#[test]
fn a_loop_that_sleeps_for_a_moment() {
    beside_a_canary("calls naps", "", "");
}

#[test]
fn a_loop_that_writes_nothing() {
    beside_a_canary("calls nothing", "", ENDED);
}

#[test]
fn a_loop_that_reads_a_huge_environment() {
    let value = "v".repeat(1000);
    let variables: Vec<String> = (0..1000).map(|n| format!("V{n} = {value:?}")).collect();
    let settings = format!("env = {{ {} }}", variables.join(", "));
    beside_a_canary("calls environment", &settings, ENDED);
}

#[test]
fn a_loop_that_asks_for_much_randomness() {
    for (kind, evidence) in [(Kind::P1, ENDED), (Kind::P2, "exceeds limit")] {
        let world = World::alone(kind);
        let target = world.actor_port("hostile", "calls random", TIME);
        Attack::new(&world, target).shows(evidence).besiege();
    }
}

#[test]
fn a_loop_that_looks_at_files() {
    with_data("calls files", ENDED);
}

#[test]
fn a_loop_that_lists_a_large_folder() {
    with_data("calls entries", ENDED);
}

#[test]
fn a_loop_with_paths_of_many_mebibytes() {
    with_data("calls long-paths", ENDED);
}

each_kind! { BOTH: a_pipe_that_nobody_writes_to }
/// To open a pipe is to wait for its other end: in a thread that cannot be interrupted.
fn a_pipe_that_nobody_writes_to(kind: Kind) {
    let world = World::alone(kind);
    fs::create_dir(world.path("data")).unwrap();
    let pipe = world.path("data/pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let dirs = format!("dirs = [{{ host = {:?}, guest = \"/data\" }}]", world.path("data"));
    let settings = format!("timeout = \"300ms\"\n{dirs}");
    let target = world.actor_port("hostile", "peek /data/pipe 1", &settings);
    Attack::new(&world, target).shows("took longer than 300ms").besiege();
}

#[test]
fn ten_thousand_open_files() {
    with_data("open-files 10000", " files\n");
}

#[test]
fn a_hundred_timers_at_once() {
    beside_a_canary("timers 100", "", "");
}

/// Whether they are different ones (core modules) or a hundred of them over and over, that is more than
/// a guest may hold at a time.
#[test]
fn half_a_million_timers_at_once() {
    for (kind, evidence) in [(Kind::P1, ENDED), (Kind::P2, "limit exceeded")] {
        let world = World::alone(kind);
        let target = world.actor_port("hostile", "timers 500000", TIME);
        Attack::new(&world, target).shows(evidence).besiege();
    }
}

each_kind! { BOTH: a_sleep_without_end }
fn a_sleep_without_end(kind: Kind) {
    let world = World::alone(kind);
    let target = world.actor_port("hostile", "sleep", TIME);
    Attack::new(&world, target)
        .clients(Clients::Many)
        .shows("up\n")
        .besiege();
}

each_kind! { BOTH: a_flood_to_clients_who_do_not_read }
fn a_flood_to_clients_who_do_not_read(kind: Kind) {
    let world = World::alone(kind);
    let target = world.actor_port("hostile", "flood", TIME);
    Attack::new(&world, target).clients(Clients::WhoDoNotRead).besiege();
}

#[test]
fn a_flood_to_clients_who_read() {
    beside_a_canary("flood", "", "xxx");
}
