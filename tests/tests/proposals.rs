//! WebAssembly 3.0, one proposal at a time; and what is refused of what comes after it.

use std::fs;

use harness::{Kind, World, run};

/// A module that imports `fd_write`, and has a memory with the words of the test at 16.
const HEAD: &str = r#"
    (import "wasi_snapshot_preview1" "fd_write" (func $fd_write (param i32 i32 i32 i32) (result i32)))
    (memory (export "memory") 1)
    (data (i32.const 0) "\10\00\00\00\05\00\00\00")
    (data (i32.const 16) "done\0a")
    (func $done (drop (call $fd_write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))))
    (func $check (param i32) (if (i32.eqz (local.get 0)) (then unreachable)))
"#;

/// What each proposal brings, used so that a wrong result traps.
const SUPPORTED: [(&str, &str); 11] = [
    (
        "exceptions",
        r#"(tag $wrong (param i32))
        (func $throws (throw $wrong (i32.const 42)))
        (func (export "_start")
          (call $check (i32.eq (i32.const 42)
            (block $caught (result i32)
              (try_table (catch $wrong $caught) (call $throws))
              (unreachable))))
          (call $done))"#,
    ),
    (
        "exceptions by reference",
        r#"(tag $wrong (param i32))
        (func $rethrows
          (throw_ref (block $caught (result exnref)
            (try_table (catch_all_ref $caught) (throw $wrong (i32.const 7)))
            (unreachable))))
        (func (export "_start")
          (call $check (i32.eq (i32.const 7)
            (block $caught (result i32)
              (try_table (catch $wrong $caught) (call $rethrows))
              (unreachable))))
          (call $done))"#,
    ),
    (
        "garbage collection",
        r#"(type $pair (struct (field $a (mut i32)) (field $b (ref null $pair))))
        (type $words (array (mut i16)))
        (func (export "_start") (local $p (ref null $pair))
          (local.set $p (struct.new $pair (i32.const 3) (struct.new $pair (i32.const 4) (ref.null $pair))))
          (call $check (i32.eq (i32.const 4) (struct.get $pair $a (struct.get $pair $b (local.get $p)))))
          (call $check (i32.eq (i32.const 9) (array.len (array.new $words (i32.const 1) (i32.const 9)))))
          (call $check (i32.eq (i32.const 5) (i31.get_s (ref.i31 (i32.const 5)))))
          (call $check (ref.test (ref $pair) (local.get $p)))
          (call $done))"#,
    ),
    (
        "function references",
        r#"(type $unary (func (param i32) (result i32)))
        (elem declare func $double)
        (func $double (type $unary) (i32.mul (local.get 0) (i32.const 2)))
        (func (export "_start")
          (call $check (i32.eq (i32.const 8) (call_ref $unary (i32.const 4) (ref.func $double))))
          (call $done))"#,
    ),
    (
        "tail calls",
        r#"(func $count (param i32) (result i32)
          (if (i32.eqz (local.get 0)) (then (return (i32.const 1))))
          (return_call $count (i32.sub (local.get 0) (i32.const 1))))
        (func (export "_start") (call $check (call $count (i32.const 10000000))) (call $done))"#,
    ),
    (
        "multi-memory",
        r#"(memory $other 1)
        (func (export "_start")
          (i32.store8 $other (i32.const 0) (i32.const 6))
          (call $check (i32.eq (i32.const 6) (i32.load8_u $other (i32.const 0))))
          (call $check (i32.eq (i32.const 16) (i32.load8_u (i32.const 0))))
          (memory.copy $other 0 (i32.const 1) (i32.const 0) (i32.const 1))
          (call $check (i32.eq (i32.const 16) (i32.load8_u $other (i32.const 1))))
          (call $done))"#,
    ),
    (
        "memory64",
        r#"(memory $wide i64 1)
        (func (export "_start")
          (i64.store $wide (i64.const 8) (i64.const 77))
          (call $check (i64.eq (i64.const 77) (i64.load $wide (i64.const 8))))
          (call $check (i64.eq (i64.const 1) (memory.grow $wide (i64.const 1))))
          (call $done))"#,
    ),
    (
        "relaxed SIMD",
        r#"(func (export "_start")
          (call $check (i32.eq (i32.const 2) (i8x16.extract_lane_s 0
            (i8x16.relaxed_swizzle (v128.const i8x16 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16)
              (v128.const i8x16 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0)))))
          (call $done))"#,
    ),
    (
        "extended constants",
        r#"(global $sum i32 (i32.add (i32.const 20) (i32.mul (i32.const 2) (i32.const 11))))
        (func (export "_start")
          (call $check (i32.eq (i32.const 42) (global.get $sum)))
          (call $done))"#,
    ),
    (
        "atomic instructions on a memory that is not shared",
        r#"(func (export "_start")
          (call $check (i32.eqz (i32.atomic.rmw.add (i32.const 32) (i32.const 3))))
          (call $check (i32.eq (i32.const 3) (i32.atomic.load (i32.const 32))))
          (call $check (i32.eqz (memory.atomic.notify (i32.const 32) (i32.const 1))))
          (atomic.fence)
          (call $done))"#,
    ),
    (
        "references to the outside",
        r#"(table $kept 2 externref)
        (func (export "_start")
          (call $check (ref.is_null (table.get $kept (i32.const 1))))
          (call $check (ref.is_null (extern.convert_any (ref.null any))))
          (call $done))"#,
    ),
];

fn module(body: &str) -> Vec<u8> {
    wat::parse_str(format!("(module {HEAD} {body})")).expect("valid text")
}

#[test]
fn what_webassembly_3_has_is_supported() {
    let world = World::new(Kind::P1);
    let handlers: Vec<_> = SUPPORTED
        .iter()
        .enumerate()
        .map(|(number, (proposal, body))| {
            let handler = format!("proposal-{number}");
            world.compile(&module(body), &handler);
            (proposal, world.tcp(&handler))
        })
        .collect();
    let _host = world.start(&[]);
    for (proposal, address) in handlers {
        // More often than guests are run before they come from a pool.
        for _ in 0..40 {
            assert_eq!(address.knock().text(), "done\n", "{proposal}");
        }
    }
}

#[test]
fn an_exception_that_is_not_caught_resets_the_connection_and_is_named() {
    let world = World::new(Kind::P1);
    let thrown = r#"(tag $wrong) (func $f (export "_start") (call $done) (throw $wrong))"#;
    world.compile(&module(thrown), "thrower");
    let address = world.tcp("thrower");
    let host = world.start(&[]);
    address.knock().expect_reset_after("done\n");
    host.log.expect("exception");
}

/// Allocates `size` bytes over and over, `count` times; all that it keeps is the last, or all of it.
fn allocates(count: u64, keeps: bool) -> Vec<u8> {
    let kept = match keeps {
        true => "(local.get $last)",
        false => "(ref.null $block)",
    };
    module(&format!(
        r#"(type $bytes (array (mut i8)))
        (type $block (struct (field (ref $bytes)) (field $next (mut (ref null $block)))))
        (func (export "_start") (local $left i64) (local $last (ref null $block))
          (local.set $left (i64.const {count}))
          (loop $more
            (local.set $last (struct.new $block
              (array.new_default $bytes (i32.const 10000)) {kept}))
            ;; A cycle, which counting references would keep.
            (if (ref.is_null (struct.get $block $next (local.get $last)))
              (then (struct.set $block $next (local.get $last) (local.get $last))))
            (local.set $left (i64.sub (local.get $left) (i64.const 1)))
            (br_if $more (i64.gt_s (local.get $left) (i64.const 0))))
          (call $done))"#
    ))
}

#[test]
fn garbage_is_collected_in_cycles_too() {
    let world = World::new(Kind::P1);
    world.compile(&allocates(100_000, false), "collected");
    world.configure("[handler.collected]\nmemory = \"16MiB\"\n");
    let address = world.tcp("collected");
    let _host = world.start(&[]);
    // A gigabyte, in 16 MiB.
    assert_eq!(address.knock().text(), "done\n");
}

#[test]
fn the_heap_of_objects_counts_into_memory() {
    let world = World::new(Kind::P1);
    world.compile(&allocates(100_000, true), "hoards");
    world.configure("[handler.hoards]\nmemory = \"16MiB\"\n");
    let address = world.tcp("hoards");
    let host = world.start(&[]);
    address.knock().expect_reset_after("");
    host.log.expect("ran out of memory (raise `memory` if it needs more)");
}

/// What is not part of WebAssembly 3.0, or needs several threads, and how it is named.
const REFUSED: [(&str, &str, &str); 6] = [
    (
        "threads",
        "(module (memory 1 1 shared) (func (export \"_start\")))",
        "threads (it has a shared memory); build without `-pthread`",
    ),
    (
        "imported",
        "(module (import \"env\" \"memory\" (memory 1 1 shared)) (func (export \"_start\")))",
        "threads (it has a shared memory)",
    ),
    (
        "legacy",
        "(module (tag $t) (func (export \"_start\") try nop catch $t end))",
        "legacy exception handling; build with `-fwasm-exceptions -mllvm -wasm-use-legacy-eh=false`",
    ),
    (
        "wide",
        "(module (func (export \"_start\") (i64.add128 (i64.const 0) (i64.const 0) (i64.const 0) (i64.const 0)) drop drop))",
        "wide arithmetic",
    ),
    (
        "pages",
        "(module (memory 1 (pagesize 1)) (func (export \"_start\")))",
        "custom page sizes",
    ),
    ("maps", "(component (type (map string u32)))", "maps in components"),
];

#[test]
fn what_is_refused_is_named_with_the_way_to_avoid_it() {
    let world = World::new(Kind::P1);
    for (name, text, named) in REFUSED {
        let file = world.module(&format!("{name}.wasm"));
        fs::write(&file, wat::parse_str(text).expect("valid text")).expect("write a module");
        let (path, config) = (file.display().to_string(), world.path("config/wasm-sock.toml"));
        world.configure(&format!("[handler.{name}]\nmodule = {path:?}\n"));
        for arguments in [
            vec!["compile", &path],
            vec!["inspect", &path],
            vec!["check", "--config", &config.display().to_string()],
        ] {
            let output = run(&arguments);
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8_lossy(&said);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
            assert!(said.contains(named), "{arguments:?}: {named:?} is not in: {said}");
        }
    }
}

#[test]
fn a_module_that_is_not_valid_at_all_is_told_where() {
    let world = World::new(Kind::P1);
    let file = world.module("invalid.wasm");
    let invalid = wat::parse_str("(module (func (result i32)))").expect("valid text");
    fs::write(&file, invalid).expect("write a module");
    let output = run(&["compile", &file.display().to_string()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("type mismatch") && said.contains("offset"), "{said}");
}
