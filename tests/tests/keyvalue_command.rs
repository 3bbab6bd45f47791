//! `wasm-sock kv`: an administrator reads and changes what guests have stored, also while they run.

use harness::{Address, Kind, World, wasm_sock};
use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

fn actor(world: &World, settings: &str) -> Address {
    world.install("a", "keyvalue-actor");
    world.configure(&format!("[handler.a]\n{settings}\n"));
    world.tcp("a")
}

fn kv(world: &World, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(wasm_sock())
        .arg("kv")
        .args(arguments)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("STATE_DIRECTORY", world.path("state"))
        .env("CONFIGURATION_DIRECTORY", world.path("config"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run wasm-sock");
    // It may end without reading any of it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().expect("wait for wasm-sock")
}

#[track_caller]
fn expect(world: &World, arguments: &[&str], output: &[u8]) {
    let result = kv(world, arguments, b"");
    let error = String::from_utf8_lossy(&result.stderr);
    assert!(result.status.success(), "{arguments:?}: {error}");
    assert_eq!(
        String::from_utf8_lossy(&result.stdout),
        String::from_utf8_lossy(output),
        "{arguments:?}"
    );
}

#[track_caller]
fn expect_failure(world: &World, arguments: &[&str], why: &str) {
    let result = kv(world, arguments, b"");
    let error = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(1), "{arguments:?}: {error}");
    assert!(error.contains(why), "{error}");
}

const GRANTED: &str =
    "keyvalue = { default = \"embedded\", other = \"embedded\", far = \"redis://:secret@localhost\" }";

#[test]
fn what_guests_set_people_read_and_what_people_set_guests_read() {
    let world = World::new(Kind::P2);
    let address = actor(&world, GRANTED);
    let _host = world.start(&[]);
    let mut client = address.connect();
    expect(&world, &["list", "a"], b"");
    assert_eq!(client.ask("1 set default from-guest 1"), "done");
    expect(&world, &["get", "a", "from-guest"], b"1");
    expect(&world, &["set", "a", "from-people", "2"], b"");
    assert_eq!(client.ask("1 get default from-people"), "=2");
    let result = kv(&world, &["set", "a", "from-input", "--store", "other"], b"\x00\xff");
    assert!(result.status.success());
    expect(&world, &["get", "a", "from-input", "--store=other"], b"\x00\xff");
    expect(&world, &["list", "a"], b"from-guest\nfrom-people\n");
    expect(&world, &["delete", "a", "from-guest", "none"], b"");
    assert_eq!(client.ask("1 exists default from-guest"), "false");
}

#[test]
fn an_export_imports_into_another_handler() {
    let world = World::new(Kind::P2);
    let address = actor(&world, GRANTED);
    let host = world.start(&[]);
    let mut client = address.connect();
    assert_eq!(client.ask("1 set-many default k=v l="), "done");
    assert!(
        kv(
            &world,
            &["set", "a", "binary", "--store", "other", "--expire", "1h"],
            b"\xff\n"
        )
        .status
        .success()
    );
    let exported = kv(&world, &["export", "a"], b"");
    let text = String::from_utf8(exported.stdout).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(
        text.starts_with("{\"store\":\"default\",\"key\":\"k\",\"value\":\"v\"}\n"),
        "{text}"
    );
    let imported = kv(&world, &["import", "b"], text.as_bytes());
    assert_eq!(String::from_utf8_lossy(&imported.stderr), "3 entries were imported\n");
    let again = kv(&world, &["export", "b"], b"");
    assert_eq!(String::from_utf8(again.stdout).unwrap(), text);
    drop(host);
}

#[test]
fn a_line_that_is_no_entry_stops_an_import_and_is_named() {
    let world = World::new(Kind::P2);
    let lines = b"{\"store\":\"default\",\"key\":\"k\",\"value\":\"v\"}\n\nnonsense\n";
    let result = kv(&world, &["import", "a"], lines);
    let error = String::from_utf8_lossy(&result.stderr);
    assert_eq!(result.status.code(), Some(1), "{error}");
    assert!(
        error.contains("standard input, line 3: ") && error.contains("(1 entries before it were imported)"),
        "{error}"
    );
    expect(&world, &["list", "a"], b"k\n");
}

#[test]
fn mistakes_are_told_with_what_to_do() {
    let world = World::new(Kind::P2);
    let _address = actor(&world, GRANTED);
    expect_failure(
        &world,
        &["get", "a", "k"],
        "kv: a has no key \"k\" in its store \"default\" (see `wasm-sock kv list`)",
    );
    let server = "is not embedded (it is at redis://localhost:6379/0: use redis-cli or valkey-cli)";
    expect_failure(&world, &["get", "a", "k", "--store", "far"], server);
    expect_failure(&world, &["list", "a/b"], "\"a/b\" is no handler's name");
    let file = world.path("state/state/a/keyvalue.sqlite");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(&file, "garbage ".repeat(1000)).unwrap();
    expect_failure(&world, &["list", "a"], ".recover`, and move it away)");
    assert_eq!(kv(&world, &["frobnicate"], b"").status.code(), Some(2));
}
