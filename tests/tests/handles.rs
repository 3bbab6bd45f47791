//! What the host holds for a guest: descriptors have a number, everything else counts into `memory`.

use std::fs;

use harness::{Kind, World, each_kind};

each_kind! { BOTH: a_guest_has_256_files_open_at_most_and_is_told_so_by_an_error }
fn a_guest_has_256_files_open_at_most_and_is_told_so_by_an_error(kind: Kind) {
    let world = World::new(kind);
    fs::create_dir(world.path("data")).unwrap();
    fs::write(world.path("data/file"), "x").unwrap();
    let data = world.path("data");
    let settings = format!("dirs = [{{ host = {data:?}, guest = \"/data\" }}]");
    let address = world.actor_port("files", "open-files 300", &settings);
    let _host = world.start(&[]);
    // The granted directory is one of them for a core module.
    let most = if kind == Kind::P1 { 255 } else { 256 };
    let expected = format!("{most} files\neof\n");
    address.ask("").expect_whole(&expected);
}

each_kind! { BOTH: guests_that_hold_files_leave_descriptors_for_connections }
fn guests_that_hold_files_leave_descriptors_for_connections(kind: Kind) {
    let world = World::new(kind);
    fs::create_dir(world.path("data")).unwrap();
    fs::write(world.path("data/file"), "x").unwrap();
    let data = world.path("data");
    let settings = format!("dirs = [{{ host = {data:?}, guest = \"/data\" }}]");
    let address = world.actor_port("files", "open-files 300", &settings);
    world.install("neighbour", "echo");
    let neighbour = world.tcp("neighbour");
    let _host = world.launch().descriptors(512).start();
    let mut holders: Vec<_> = (0..8).map(|_| address.connect()).collect();
    for holder in &mut holders {
        assert!(holder.line().ends_with(" files"));
    }
    for _ in 0..50 {
        neighbour.ask("hello").expect_whole("hello");
    }
}

/// The end of a component that is run by what its core instance `$i` exports.
const RUN: &str = r#"
    (func $run (result (result)) (canon lift (core func $i "run")))
    (instance $run (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $run))"#;

/// A component that takes handles of `wasi:clocks/monotonic-clock` without end (`keeps`) or drops each.
fn timers(count: u32, keeps: bool) -> Vec<u8> {
    let end_of_each = match keeps {
        true => "(drop (call $subscribe (i64.const 1)))",
        false => "(call $drop (call $subscribe (i64.const 1)))",
    };
    let text = format!(
        r#"(component
        (import "wasi:io/poll@0.2.0" (instance $poll (export "pollable" (type (sub resource)))))
        (alias export $poll "pollable" (type $pollable))
        (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
          (alias outer 1 $pollable (type $p))
          (export "subscribe-duration" (func (param "when" u64) (result (own $p))))))
        (core func $subscribe (canon lower (func $clock "subscribe-duration")))
        (core func $drop (canon resource.drop $pollable))
        (core module $m
          (import "host" "subscribe" (func $subscribe (param i64) (result i32)))
          (import "host" "drop" (func $drop (param i32)))
          (func (export "run") (result i32) (local $left i32)
            (local.set $left (i32.const {count}))
            (loop $more
              {end_of_each}
              (local.set $left (i32.sub (local.get $left) (i32.const 1)))
              (br_if $more (local.get $left)))
            (i32.const 0)))
        (core instance $i (instantiate $m (with "host" (instance
          (export "subscribe" (func $subscribe)) (export "drop" (func $drop))))))
        {RUN})"#
    );
    wat::parse_str(text).expect("valid text")
}

/// Serves a component with these settings, and returns what the log says of its end.
fn end(component: &[u8], settings: &str) -> String {
    let world = World::new(Kind::P2);
    world.compile(component, "handles");
    world.configure(&format!("[handler.handles]\n{settings}\n"));
    let address = world.tcp("handles");
    let host = world.start(&[]);
    address.knock();
    host.log.expect("handles 127.0.0.1:")
}

#[test]
fn thousands_of_handles_are_no_harm() {
    // As languages with a garbage collector have them until that runs.
    let line = end(&timers(20_000, true), "");
    assert!(line.contains("served"), "{line}");
}

#[test]
fn handles_count_into_memory() {
    let line = end(&timers(90_000, true), "memory = \"2MiB\"");
    assert!(
        line.contains("ran out of memory (raise `memory` if it needs more)"),
        "{line}"
    );
}

#[test]
fn handles_that_are_dropped_do_not_count() {
    let line = end(&timers(1_000_000, false), "memory = \"1MiB\"");
    assert!(line.contains("served"), "{line}");
}

#[test]
fn there_is_a_last_resort() {
    let line = end(&timers(1_100_000, true), "memory = \"4GiB\"");
    assert!(line.contains("handle"), "{line}");
}

/// A component that makes `fields` of 100,000 bytes each, and keeps all of them.
fn fields(count: u32) -> Vec<u8> {
    let text = format!(
        r#"(component
        (type $error (variant (case "invalid-syntax") (case "forbidden") (case "immutable")))
        (import "wasi:http/types@0.2.0" (instance $http
          (alias outer 1 $error (type $e))
          (export "header-error" (type $header-error (eq $e)))
          (export "fields" (type $fields (sub resource)))
          (export "[constructor]fields" (func (result (own $fields))))
          (export "[method]fields.append" (func
            (param "self" (borrow $fields)) (param "name" string) (param "value" (list u8))
            (result (result (error $header-error)))))))
        (core module $memory (memory (export "memory") 3))
        (core instance $memory (instantiate $memory))
        (alias core export $memory "memory" (core memory $mem))
        (core func $new (canon lower (func $http "[constructor]fields")))
        (core func $append (canon lower (func $http "[method]fields.append") (memory $mem)))
        (core module $m
          (import "host" "memory" (memory 3))
          (import "host" "new" (func $new (result i32)))
          (import "host" "append" (func $append (param i32 i32 i32 i32 i32 i32)))
          (data (i32.const 16) "name")
          (func (export "run") (result i32) (local $left i32)
            (memory.fill (i32.const 1024) (i32.const 120) (i32.const 100000))
            (local.set $left (i32.const {count}))
            (loop $more
              (call $append (call $new) (i32.const 16) (i32.const 4)
                (i32.const 1024) (i32.const 100000) (i32.const 0))
              (if (i32.load8_u (i32.const 0)) (then unreachable))
              (local.set $left (i32.sub (local.get $left) (i32.const 1)))
              (br_if $more (local.get $left)))
            (i32.const 0)))
        (core instance $i (instantiate $m (with "host" (instance
          (export "memory" (memory $mem))
          (export "new" (func $new)) (export "append" (func $append))))))
        {RUN})"#
    );
    wat::parse_str(text).expect("valid text")
}

#[test]
fn fields_count_into_memory() {
    let line = end(&fields(50), "memory = \"16MiB\"");
    assert!(line.contains("served"), "{line}");
    let line = end(&fields(50_000), "memory = \"16MiB\"");
    assert!(
        line.contains("ran out of memory (raise `memory` if it needs more)"),
        "{line}"
    );
}
