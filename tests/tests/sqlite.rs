//! SQLite in a guest, on a folder of `dirs`: its own locks keep instances and hosts apart, and what a guest that was
//! ended leaves behind.

use harness::{Address, Kind, World, each_kind};
use std::fs;
use std::path::PathBuf;
use std::thread;

/// A port whose guest does with a database what it is told; `arguments` are the file and how it is waited for.
fn actor(world: &World, handler: &str, arguments: &str, settings: &str) -> Address {
    let (folder, module) = (world.path("data"), world.module("sqlite.cwasm"));
    let _ = fs::create_dir(&folder);
    if !module.exists() {
        world.install("sqlite", "sqlite-actor");
    }
    let arguments: Vec<&str> = arguments.split(' ').collect();
    world.configure(&format!(
        "[handler.{handler}]\nmodule = \"sqlite.cwasm\"\nargs = {arguments:?}\n\
         dirs = [{{ host = {folder:?}, guest = \"/data\", access = \"read-write\" }}]\n{settings}\n"
    ));
    world.tcp(handler)
}

/// The lock of SQLite's own code for WASI: a directory beside the file.
fn lock(world: &World) -> PathBuf {
    world.path("data/it.sqlite.lock")
}

each_kind! { BOTH: twenty_writers_at_a_time_in_two_hosts_lose_nothing_and_readers_see_whole_transactions }
fn twenty_writers_at_a_time_in_two_hosts_lose_nothing_and_readers_see_whole_transactions(kind: Kind) {
    const WRITERS: usize = 20;
    const EACH: usize = 10;
    let world = World::new(kind);
    let address = actor(&world, "a", "/data/it.sqlite", "timeout = \"2min\"");
    let (_one, _two) = (world.start(&[]), world.start(&[]));
    thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = address.connect();
                    client.tell(&format!("add {EACH}"), "done");
                    client.tell("pair 3", "done");
                })
            })
            .collect();
        // Money that has left one account and not come to the other would be missing.
        let mut reader = address.connect();
        while writers.iter().any(|writer| !writer.is_finished()) {
            reader.tell("balance", "1000");
        }
    });
    address.connect().tell("sum", &(WRITERS * EACH).to_string());
    assert!(!lock(&world).exists(), "nothing is locked in the end");
}

// Its transaction is undone, and the lock given back: by the guest, whose standard input has ended.
each_kind! { BOTH: a_client_that_leaves_within_a_transaction_leaves_no_lock }
fn a_client_that_leaves_within_a_transaction_leaves_no_lock(kind: Kind) {
    let world = World::new(kind);
    let address = actor(&world, "a", "/data/it.sqlite", "");
    let _host = world.start(&[]);
    let mut client = address.connect();
    client.tell("add 3", "done");
    client.tell("begin", "begun");
    assert!(lock(&world).exists());
    drop(client);
    address.connect().tell("sum", "3");
}

// As it is, not as it should be: WASI has no locks that end with their holder.
each_kind! { BOTH: a_guest_that_is_ended_within_a_transaction_leaves_the_lock_which_is_removed_by_hand }
fn a_guest_that_is_ended_within_a_transaction_leaves_the_lock_which_is_removed_by_hand(kind: Kind) {
    let world = World::new(kind);
    let address = actor(&world, "a", "/data/it.sqlite impatient", "cpu-time = \"200ms\"");
    let host = world.start(&[]);
    let mut client = address.connect();
    client.tell("add 3", "done");
    client.tell("begin", "begun");
    client.send("spin\n");
    host.log.expect("cpu-time");
    drop(client);
    assert!(lock(&world).exists());
    address.connect().tell("sum", "error: database is locked");
    // Another host is no help.
    host.kill();
    let host = world.start(&[]);
    let mut waits = address.connect();
    waits.tell("sum", "error: database is locked");
    fs::remove_dir(lock(&world)).unwrap();
    // What was committed is there, and the rest of the journal undone. The same guest goes on.
    address.connect().tell("sum", "3");
    waits.ask("sum");
    waits.tell("sum", "3");
    // So it is with a host that is killed.
    waits.tell("begin", "begun");
    host.kill();
    assert!(lock(&world).exists());
    fs::remove_dir(lock(&world)).unwrap();
    let _host = world.start(&[]);
    address.connect().tell("sum", "3");
}

// One instance at a time needs no lock, so that none is left.
each_kind! { BOTH: one_instance_at_a_time_without_locks_loses_nothing_and_is_never_locked_out }
fn one_instance_at_a_time_without_locks_loses_nothing_and_is_never_locked_out(kind: Kind) {
    let world = World::new(kind);
    let settings = "max-connections = 1\ncpu-time = \"5s\"";
    let address = actor(&world, "a", "file:/data/it.sqlite?vfs=unix-none", settings);
    let host = world.start(&[]);
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| address.connect().tell("add 5", "done"));
        }
    });
    let mut client = address.connect();
    client.tell("sum", "100");
    client.tell("begin", "begun");
    client.send("spin\n");
    host.log.expect("cpu-time");
    drop(client);
    // The journal of the guest that was ended is there, and undone by the next one.
    let mut client = address.connect();
    client.tell("sum", "100");
    client.tell("begin", "begun");
    host.kill();
    let _host = world.start(&[]);
    address.connect().tell("sum", "100");
    assert!(!lock(&world).exists());
}
