//! Imports: what a module gets depends on what it asks for, not on how often or in what order.

use harness::{Kind, World};

/// Serves the module that `text` describes, and returns what it answers.
fn answer(kind: Kind, text: &str) -> String {
    let world = World::new(kind);
    world.compile(&wat::parse_str(text).expect("valid text"), "linked");
    let address = world.tcp("linked");
    let _host = world.start(&[]);
    address.knock().text()
}

const FD_WRITE: &str =
    r#"(import "wasi_snapshot_preview1" "fd_write" (func $NAME (param i32 i32 i32 i32) (result i32)))"#;
const PROC_EXIT: &str = r#"(import "wasi_snapshot_preview1" "proc_exit" (func $NAME (param i32)))"#;

fn import(declaration: &str, name: &str) -> String {
    declaration.replace("NAME", name)
}

#[test]
fn a_function_may_be_imported_any_number_of_times_and_in_any_order() {
    // As Go's linker does, which imports a function for each package that uses it.
    let mut imports = String::new();
    for number in 0..300 {
        imports += &import(FD_WRITE, &format!("write{number}"));
        imports += &import(PROC_EXIT, &format!("exit{number}"));
    }
    let text = format!(
        r#"(module {imports}
        (memory (export "memory") 1) (data (i32.const 0) "\10\00\00\00\01\00\00\00") (data (i32.const 16) "x")
        (func (export "_start")
          (drop (call $write0 (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          (drop (call $write299 (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          (call $exit7 (i32.const 0))))"#
    );
    assert_eq!(answer(Kind::P1, &text), "xx");
}

#[test]
fn a_module_may_be_older_than_wasi_0_1_or_a_mixture() {
    // A list of one buffer at 0, and at 64 a subscription as `wasi_unstable` has it (56 bytes, of which all
    // zero is a clock whose time has come).
    let text = r#"(module
        (import "wasi_unstable" "fd_write" (func $old (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $new (param i32 i32 i32 i32) (result i32)))
        (import "wasi_unstable" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
        (import "wasi_unstable" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "wasi_unstable" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1) (data (i32.const 0) "\10\00\00\00\01\00\00\00") (data (i32.const 16) "x")
        (func (export "_start")
          (drop (call $old (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          (drop (call $new (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          ;; ESPIPE
          (if (i32.ne (i32.const 70) (call $seek (i32.const 1) (i64.const 0) (i32.const 0) (i32.const 8)))
            (then unreachable))
          (if (call $poll (i32.const 64) (i32.const 256) (i32.const 1) (i32.const 8)) (then unreachable))
          (if (i32.ne (i32.const 1) (i32.load (i32.const 8))) (then unreachable))
          (call $exit (i32.const 0))))"#;
    assert_eq!(answer(Kind::P1, text), "xx");
}

#[test]
fn an_import_that_nothing_calls_is_no_obstacle() {
    let mut imports = import(FD_WRITE, "write");
    for (name, parameters) in [
        ("sock_accept", "i32 i32 i32"),
        ("sock_recv", "i32 i32 i32 i32 i32 i32"),
        ("path_symlink", "i32 i32 i32 i32 i32"),
        ("proc_raise", "i32"),
        ("sched_yield", ""),
    ] {
        imports += &format!(r#"(import "wasi_snapshot_preview1" "{name}" (func (param {parameters}) (result i32)))"#);
    }
    let text = format!(
        r#"(module {imports}
        (memory (export "memory") 1) (data (i32.const 0) "\10\00\00\00\01\00\00\00") (data (i32.const 16) "x")
        (func (export "_start")
          (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#
    );
    assert_eq!(answer(Kind::P1, &text), "x");
}

#[test]
fn a_memory_and_a_table_may_have_several_names() {
    let text = format!(
        r#"(module {}
        (memory (export "before") (export "memory") (export "mem") 1)
        (table (export "table") (export "__indirect_function_table") 1 funcref)
        (data (i32.const 0) "\10\00\00\00\01\00\00\00") (data (i32.const 16) "x")
        (func (export "_start") (export "main")
          (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#,
        import(FD_WRITE, "write")
    );
    assert_eq!(answer(Kind::P1, &text), "x");
}

/// A component that asks for `wasi:cli/exit` in each of these versions, and ends by way of the last.
fn component(versions: &[&str]) -> String {
    let mut text = String::from("(component\n");
    for (number, version) in versions.iter().enumerate() {
        text += &format!(
            r#"(import "wasi:cli/exit@{version}" (instance $exit{number}
                (export "exit" (func (param "status" (result))))))
            (core func $exit{number} (canon lower (func $exit{number} "exit")))
            "#
        );
    }
    let last = versions.len() - 1;
    text += &format!(
        r#"(core module $m
            (import "host" "exit" (func $exit (param i32)))
            (func (export "run") (result i32) (call $exit (i32.const 1)) (i32.const 0)))
        (core instance $i (instantiate $m (with "host" (instance (export "exit" (func $exit{last}))))))
        (func $run (result (result)) (canon lift (core func $i "run")))
        (instance $run (export "run" (func $run)))
        (export "wasi:cli/run@0.2.0" (instance $run)))"#
    );
    text
}

#[test]
fn an_interface_may_be_imported_in_several_versions() {
    // As in a component that was put together from parts that were built at different times.
    for versions in [&["0.2.0"] as &[_], &["0.2.0", "0.2.6"], &["0.2.12", "0.2.3", "0.2.0"]] {
        let world = World::new(Kind::P2);
        world.compile(&wat::parse_str(component(versions)).expect("valid text"), "linked");
        let address = world.tcp("linked");
        let host = world.start(&[]);
        address.knock().expect_whole("");
        host.log.expect("failed with exit code 1");
    }
}

#[test]
fn what_is_not_part_of_wasi_is_named() {
    let world = World::new(Kind::P1);
    let text = r#"(module (import "env" "emscripten_sleep" (func (param i32))) (func (export "_start")))"#;
    world.compile(&wat::parse_str(text).expect("valid text"), "foreign");
    let address = world.tcp("foreign");
    let host = world.start(&[]);
    address.knock().expect_reset_after("");
    host.log
        .expect("imports env.emscripten_sleep, which is not part of WASI 0.1");
}
