//! A large configuration is read once, and what was found out is kept; nobody can tell but by the time.

use harness::{Address, Kind, World, eventually};
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

/// Handlers beside the one that is asked.
const OTHERS: usize = 40;

/// What was changed this very moment is not kept.
const SETTLED: Duration = Duration::from_millis(700);

/// A world with many handlers, of which `actor` does this.
fn world(arguments: &str) -> (World, Address) {
    let world = World::new(Kind::P1);
    world.install("actor", "actor");
    configure(&world, arguments);
    let address = world.tcp("actor");
    (world, address)
}

fn configure(world: &World, arguments: &str) {
    let mut text = format!("[handler.actor]\nargs = {arguments}\nenv = {{ COLOUR = \"red\" }}\n");
    for index in 0..OTHERS {
        text += &format!("[handler.other{index}]\nmodule = \"actor.cwasm\"\n");
    }
    fs::write(world.path("config/wasm-sock.toml"), text).expect("configure");
}

fn snapshot(world: &World) -> Option<PathBuf> {
    let entries = fs::read_dir(world.path("cache")).expect("list the cache");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found = paths.filter(|path| path.display().to_string().contains("/configuration-"));
    let path = found.next();
    assert!(found.next().is_none(), "two snapshots");
    path
}

/// What a fresh host answers.
fn answer(world: &World, address: &Address) -> String {
    let host = world.start(&[]);
    let answer = address.knock().text();
    assert!(!answer.is_empty(), "no answer: {}", host.log.text());
    answer
}

/// The same once there is a snapshot, and that snapshot.
fn settled(world: &World, address: &Address) -> (String, PathBuf) {
    sleep(SETTLED);
    let first = answer(world, address);
    let path = snapshot(world).expect("a snapshot");
    let second = answer(world, address);
    assert_eq!(first, second, "with the snapshot");
    (second, path)
}

#[test]
fn the_next_start_serves_what_the_configuration_says() {
    let (world, address) = world("[\"version\"]");
    let (answer, path) = settled(&world, &address);
    assert!(answer.starts_with("version"), "{answer}");
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    drop(world.start(&[]));
    let after = fs::metadata(&path).unwrap().modified().unwrap();
    assert_eq!(before, after, "it is written once");
}

#[test]
fn a_configuration_that_is_changed_or_broken_is_noticed_at_the_next_start() {
    let (world, address) = world("[\"version\"]");
    settled(&world, &address);
    configure(&world, "[\"env\"]");
    let answered = answer(&world, &address);
    assert!(answered.contains("COLOUR=red"), "{answered}");
    configure(&world, "[\"version\"]");
    settled(&world, &address);

    let drop_in = world.path("config/handlers.d/more.toml");
    fs::write(&drop_in, "[handler.actor]\n").unwrap();
    let host = world.start(&[]);
    let line = host.log.expect("defined twice");
    assert!(line.contains("more.toml"), "{line}");
    drop(host);
    fs::remove_file(drop_in).unwrap();

    configure(&world, "1");
    let host = world.start(&[]);
    host.log.expect("args: expected an array");
    drop(host);

    configure(&world, "[\"version\"]");
    settled(&world, &address);
    fs::remove_file(world.path("config/wasm-sock.toml")).unwrap();
    let _host = world.start(&[]);
    assert_eq!(address.knock().text(), "", "it is told to do nothing");
}

#[test]
fn a_snapshot_that_is_damaged_or_not_to_be_trusted_is_passed_over() {
    let (world, address) = world("[\"version\"]");
    let (_, path) = settled(&world, &address);
    let whole = fs::read(&path).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&b""[..], b"nonsense", &whole[..whole.len() - 1], &flipped] {
        fs::write(&path, damaged).unwrap();
        assert!(answer(&world, &address).starts_with("version"));
        eventually("it is made anew", || {
            fs::read(&path).unwrap().len() > damaged.len().min(8)
        });
    }
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(answer(&world, &address).starts_with("version"));
}

#[test]
fn a_module_that_came_later_is_served_in_spite_of_a_snapshot() {
    let (world, address) = world("[\"version\"]");
    settled(&world, &address);
    let (module, elsewhere) = (world.module("actor.cwasm"), world.path("run/actor.cwasm"));
    fs::rename(&module, &elsewhere).unwrap();
    std::os::unix::fs::symlink(&elsewhere, &module).unwrap();
    assert!(answer(&world, &address).starts_with("version"));
}
