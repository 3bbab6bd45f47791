//! Guests that keep the host for as long as they can with one instruction, or one call: nothing interrupts it.
//! Twenty connections a second of each.

use std::time::Duration;

use harness::{Kind, World, eventually};

use crate::attack::{Attack, Clients};
use crate::{ENDED, TIME};

/// 60 MiB of the 64 that a guest may have.
const FILL: &str = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 62914560))";
const COPY: &str = "(memory.copy (i32.const 0) (i32.const 31457280) (i32.const 31457280))";

/// The same, written by the host. A guest that hears of an error does no harm, and fails.
const RANDOM: &str = "(if (call $random_get (i32.const 0) (i32.const 62914560)) (then (unreachable)))";

/// 60 MiB to standard error, which has one line. How much of it the host took does not matter.
const WRITE: &str = "
    (i32.store (i32.const 0) (i32.const 16))
    (i32.store (i32.const 4) (i32.const 62914560))
    (if (call $fd_write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)) (then (unreachable)))";

const MEMORY: &str = r#"
    (import "wasi_snapshot_preview1" "random_get" (func $random_get (param i32 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 961)"#;

/// A million elements.
const TABLES: &str = "
    (table $one 1000000 funcref) (table $other 0 funcref) (elem declare func $f) (func $f)
    (memory (export \"memory\") 1)";
const TABLE_FILL: &str = "(table.fill $one (i32.const 0) (ref.func $f) (i32.const 1000000))";
const TABLE_COPY: &str = "(table.copy $one $one (i32.const 0) (i32.const 1) (i32.const 999999))";

/// An array of 24 MiB, which is copied into the other half of its heap when that is collected.
const ARRAYS: &str = r#"
    (type $array (array (mut i64)))
    (global $kept (mut (ref null $array)) (ref.null $array))
    (memory (export "memory") 1)"#;
const KEEPS_AN_ARRAY: &str = "(global.set $kept (array.new_default $array (i32.const 3000000)))";
const ARRAY_FILL: &str = "(array.fill $array (global.get $kept) (i32.const 0) (i64.const 1) (i32.const 3000000))";
const ARRAY_COPY: &str = "(array.copy $array $array
    (global.get $kept) (i32.const 0) (global.get $kept) (i32.const 1) (i32.const 2999999))";
const ARRAY_NEW: &str = "(drop (array.new_default $array (i32.const 1000000)))";

/// A module that does `first`, and then one thing over and over.
fn over_and_over(definitions: &str, first: &str, instruction: &str) -> Vec<u8> {
    let text = format!(
        r#"(module {definitions}
        (func (export "_start") (local $done i32) {first} (loop $again {instruction} (br $again))))"#
    );
    wat::parse_str(text).expect("valid text")
}

/// What a line of the log says about a guest's CPU time.
fn cpu_time(line: &str) -> Duration {
    let (_, rest) = line.split_once(", cpu ").expect("a guest's last line");
    let (time, _) = rest.split_once(',').expect("what came and went");
    let digits = time.trim_end_matches(|c: char| !c.is_ascii_digit());
    let seconds = match &time[digits.len()..] {
        "s" => 1.0,
        "ms" => 1e-3,
        "µs" => 1e-6,
        unit => panic!("a unit {unit}: {line}"),
    };
    Duration::from_secs_f64(digits.parse::<f64>().expect("a number") * seconds)
}

/// Twenty a second beside a canary.
fn besiege(module: &[u8], settings: &str, evidence: &str) {
    let world = World::alone(Kind::P1);
    world.compile(module, "hostile");
    world.configure(&format!("[handler.hostile]\n{TIME}\n{settings}\n"));
    let target = world.tcp("hostile");
    let log = Attack::new(&world, target)
        .clients(Clients::TwentyASecond)
        .shows(evidence)
        .besiege();
    let ended = log.lines().into_iter().find(|line| line.contains(evidence));
    let ended = ended.expect("it was waited for");
    eprintln!("{ended}");
    if evidence == ENDED {
        // All that it did was measured, and a last instruction may come to its end.
        let used = cpu_time(&ended);
        let expected = Duration::from_millis(200)..Duration::from_millis(300);
        assert!(expected.contains(&used), "{used:?}: {ended}");
    }
}

#[test]
fn memory_that_is_filled_at_one_go() {
    besiege(&over_and_over(MEMORY, "", FILL), "", ENDED);
}

#[test]
fn memory_that_is_copied_at_one_go() {
    besiege(&over_and_over(MEMORY, "", COPY), "", ENDED);
}

const ELEMENTS: &str = "table-elements = 1000000";

/// Each takes less than what shows the host that it cannot interrupt the guest.
#[test]
fn memory_that_is_filled_a_part_at_a_time() {
    let fill = "(memory.fill (i32.const 0) (i32.const 1) (i32.const 8388608))";
    besiege(&over_and_over(MEMORY, "", fill), "", ENDED);
}

#[test]
fn a_table_that_is_filled_at_one_go() {
    besiege(&over_and_over(TABLES, "", TABLE_FILL), ELEMENTS, ENDED);
}

#[test]
fn a_table_that_is_copied_at_one_go() {
    besiege(&over_and_over(TABLES, TABLE_FILL, TABLE_COPY), ELEMENTS, ENDED);
}

/// It grows to all that it may have, and on, which is refused.
#[test]
fn a_table_that_grows_at_one_go() {
    let table = r#"(table $t 0 funcref) (func $f) (elem declare func $f) (memory (export "memory") 1)"#;
    let grow = "(if (i32.eq (table.grow $t (ref.func $f) (i32.const 1000000)) (i32.const -1))
        (then (unreachable)))";
    besiege(&over_and_over(table, "", grow), ELEMENTS, "raise `table-elements`");
}

#[test]
fn an_array_that_is_filled_at_one_go() {
    besiege(&over_and_over(ARRAYS, KEEPS_AN_ARRAY, ARRAY_FILL), "", ENDED);
}

#[test]
fn an_array_that_is_copied_at_one_go() {
    besiege(&over_and_over(ARRAYS, KEEPS_AN_ARRAY, ARRAY_COPY), "", ENDED);
}

#[test]
fn large_arrays_that_are_made_over_and_over() {
    besiege(&over_and_over(ARRAYS, "", ARRAY_NEW), "", ENDED);
}

#[test]
fn randomness_for_all_of_the_memory() {
    besiege(&over_and_over(MEMORY, "", RANDOM), "", ENDED);
}

#[test]
fn all_of_the_memory_for_the_log() {
    besiege(&over_and_over(MEMORY, "", WRITE), "", ENDED);
}

/// Sixty million lines at a time, of which all are empty.
#[test]
fn all_of_the_memory_in_empty_lines_for_the_log() {
    let newlines = "(memory.fill (i32.const 16) (i32.const 10) (i32.const 62914560))";
    besiege(&over_and_over(MEMORY, newlines, WRITE), "", ENDED);
}

/// Sixteen million lines at a time, of a word each.
#[test]
fn all_of_the_memory_in_short_lines_for_the_log() {
    let lines = r#"
        (i32.store (i32.const 16) (i32.const 0x0a636261))
        (memory.copy (i32.const 20) (i32.const 16) (i32.const 4))
        (local.set $done (i32.const 8))
        (loop $more
          (memory.copy (i32.add (i32.const 16) (local.get $done)) (i32.const 16) (local.get $done))
          (local.set $done (i32.shl (local.get $done) (i32.const 1)))
          (br_if $more (i32.lt_u (local.get $done) (i32.const 16777216))))
        (memory.copy (i32.const 16777232) (i32.const 16) (i32.const 16777216))
        (memory.copy (i32.const 33554448) (i32.const 16) (i32.const 29360128))"#;
    besiege(&over_and_over(MEMORY, lines, WRITE), "", ENDED);
}

/// A component whose one half hands the other ten million characters in UTF-16, over and over; the other half has
/// them in UTF-8. Wasmtime's code between them is no guest's, and calls the host for all of them at once.
const HANDS_OVER: &str = r#"(component
    (component $callee
      (core module $m
        (memory (export "memory") 460)
        (func (export "realloc") (param i32 i32 i32 i32) (result i32) (i32.const 0))
        (func (export "take") (param i32 i32)))
      (core instance $i (instantiate $m))
      (func (export "take") (param "text" string)
        (canon lift (core func $i "take") (memory $i "memory") (realloc (func $i "realloc")))))
    (component $caller
      (import "take" (func $take (param "text" string)))
      (core module $memory (memory (export "memory") 306))
      (core instance $memory (instantiate $memory))
      (core func $take
        (canon lower (func $take) (memory $memory "memory") string-encoding=utf16))
      (core module $m
        (import "host" "memory" (memory 306))
        (import "host" "take" (func $take (param i32 i32)))
        (func (export "run") (result i32)
          (memory.fill (i32.const 0) (i32.const 0x61) (i32.const 20000000))
          (loop $again (call $take (i32.const 0) (i32.const 10000000)) (br $again))
          (i32.const 0)))
      (core instance $i (instantiate $m (with "host" (instance
        (export "memory" (memory $memory "memory")) (export "take" (func $take))))))
      (func (export "run") (result (result)) (canon lift (core func $i "run"))))
    (instance $callee (instantiate $callee))
    (instance $caller (instantiate $caller (with "take" (func $callee "take"))))
    (instance $run (export "run" (func $caller "run")))
    (export "wasi:cli/run@0.2.0" (instance $run)))"#;

#[test]
fn a_text_that_halves_of_a_component_hand_over() {
    besiege(&wat::parse_str(HANDS_OVER).unwrap(), "", ENDED);
}

/// One instruction that lasts for longer than the clock ticks, and what the guest's own clock says of it: eight
/// bytes, in nanoseconds.
const TIMES_ITSELF: &str = r#"(module
    (import "wasi_snapshot_preview1" "clock_time_get" (func $time (param i32 i64 i32) (result i32)))
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 4097)
    (data (i32.const 0) "\20\00\00\00\08\00\00\00")
    (func (export "_start")
      (drop (call $time (i32.const 1) (i64.const 1) (i32.const 16)))
      (memory.fill (i32.const 64) (i32.const 1) (i32.const 268435456))
      (drop (call $time (i32.const 1) (i64.const 1) (i32.const 24)))
      (i64.store (i32.const 32) (i64.sub (i64.load (i32.const 24)) (i64.load (i32.const 16))))
      (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

#[test]
fn a_single_instruction_is_measured_as_long_as_it_takes() {
    let world = World::alone(Kind::P1);
    world.compile(&wat::parse_str(TIMES_ITSELF).unwrap(), "slow");
    world.configure("[handler.slow]\nmemory = \"300MiB\"\n");
    let slow = world.tcp("slow");
    let host = world.start(&[]);
    // The guest's clock goes on while the machine does something else: one that did not is enough.
    let attempt = |number: usize| {
        let own = slow.knock().bytes.try_into().expect("eight bytes");
        let own = Duration::from_nanos(u64::from_le_bytes(own));
        eventually("it is logged", || host.log.count(": served ") == number);
        let line = host.log.lines().pop().expect("a line");
        eprintln!("by its own clock {own:?}: {line}");
        assert!(own > Duration::from_millis(20), "it is no long instruction");
        cpu_time(&line) > own * 3 / 4
    };
    assert!((1..=3).any(attempt), "less is counted than it used");
}
