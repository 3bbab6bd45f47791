//! Key-value stores: what guests store is kept, whatever happens to hosts, and no handler sees another's.

use harness::{Address, Kind, PATIENCE, World, eventually};
use rusqlite::Connection;
use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

const GRANTED: &str = "keyvalue = { default = \"embedded\", other = \"embedded\" }";

/// A port whose guest does with its stores what it is told.
fn actor(world: &World, handler: &str, settings: &str) -> Address {
    world.install(handler, "keyvalue-actor");
    world.configure(&format!("[handler.{handler}]\n{settings}\n"));
    world.tcp(handler)
}

/// The file of a handler.
fn file(world: &World, handler: &str) -> PathBuf {
    world.path("state/state").join(handler).join("keyvalue.sqlite")
}

#[test]
fn both_drafts_lead_to_the_same_stores() {
    let world = World::new(Kind::P2);
    let address = actor(&world, "a", GRANTED);
    let _host = world.start(&[]);
    let mut client = address.connect();
    for version in ["1", "2"] {
        let mut tell = |command: &str, answer: &str| client.tell(&format!("{version} {command}"), answer);
        tell("get default k", "none");
        tell("exists default k", "false");
        tell("list default", "");
        tell("get-many default a b", "none none");
        tell("set default k one", "done");
        tell("get default k", "=one");
        tell("exists default k", "true");
        tell("get other k", "none");
        tell("set-many default a=1 b=2 c=3", "done");
        tell("get-many default a x c", "a=1 none c=3");
        tell("list default", "a b c k");
        tell("delete-many default a x c", "done");
        tell("delete default k", "done");
        tell("delete default k", "done");
        tell("increment default n 41", "41");
        tell("increment default n 1", "42");
        tell("increment other n 1", "1");
        tell("set other n text", "done");
        tell("increment other n 1", "error: the value is not a whole number");
        tell("delete other n", "done");
        tell("delete-many default b n", "done");
    }
    // What one draft has set, the other reads.
    client.tell("1 set default shared 7", "done");
    client.tell("2 increment default shared -9", "-2");
    client.tell("1 get default shared", "=-2");
    client.tell(
        "1 increment default shared 1",
        "error: the number would be out of range",
    );
}

#[test]
fn an_empty_name_is_that_of_the_default_store() {
    let world = World::new(Kind::P2);
    let address = actor(&world, "a", GRANTED);
    let _host = world.start(&[]);
    let mut client = address.connect();
    client.tell("1 set  k v", "done");
    client.tell("2 get default k", "=v");
}

/// The names of stores are words of the configuration, and no paths; a key is a text within its store.
#[test]
fn no_name_of_a_store_or_a_key_leads_to_the_file_of_another_handler() {
    let world = World::new(Kind::P2);
    let victim = actor(&world, "victim", GRANTED);
    // A granted name that looks like a way out is a name all the same.
    let settings = "keyvalue = { default = \"embedded\", \"../victim\" = \"embedded\" }";
    let thief = actor(&world, "thief", settings);
    let _host = world.start(&[]);
    victim.connect().tell("1 set default secret s3cret", "done");
    let folder = file(&world, "victim").parent().unwrap().display().to_string();
    let (mut client, mut told) = (thief.connect(), Vec::new());
    client.tell("1 get ../victim secret", "none");
    client.tell("2 list ../victim", "");
    for version in ["1", "2"] {
        for name in [
            "victim",
            "victim/default",
            "victim:default",
            "../victim/keyvalue.sqlite",
            "..",
            ".",
            "/",
            "default/../../victim",
            "%2e%2e%2fvictim",
            "default\\0",
            "default;",
            "default'--",
            "DEFAULT",
            &folder,
            &format!("{folder}/keyvalue.sqlite"),
            &format!("file:{folder}/keyvalue.sqlite"),
            "embedded",
        ] {
            client.tell(&format!("{version} get {name} secret"), "error: no such store");
        }
        for key in [
            "../victim/secret",
            "victim:default:secret",
            "default'/**/OR/**/1=1--",
            "%",
            "*",
            "secret",
        ] {
            client.tell(&format!("{version} get default {key}"), "none");
            client.tell(&format!("{version} set ../victim {key} stolen"), "done");
            told.push(client.ask(&format!("{version} list ../victim")));
        }
        client.tell(&format!("{version} list default"), "");
    }
    assert!(told.iter().all(|keys| !keys.contains("s3cret")), "{told:?}");
    victim.connect().tell("1 get default secret", "=s3cret");
    victim.connect().tell("1 list default", "secret");
    // Nothing was made but the two folders.
    let folders = fs::read_dir(world.path("state/state")).unwrap();
    let mut names: Vec<_> = folders.map(|folder| folder.unwrap().file_name()).collect();
    names.sort();
    assert_eq!(names, ["thief", "victim"]);
}

/// `get-many` of `0.2.0-draft2` as the proposal had it until August 2026: a pair is missing as a whole. The guest asks
/// for `a`, which is `1`, and for `x`, which is not there, and traps unless it gets just that.
const OLDER_GET_MANY: &str = r#"(component
    (import "wasi:keyvalue/store@0.2.0-draft2" (instance $store
      (export "bucket" (type $bucket (sub resource)))
      (type $why (variant (case "no-such-store") (case "access-denied") (case "other" string)))
      (export "error" (type $error (eq $why)))
      (type $opened (result (own $bucket) (error $error)))
      (export "open" (func (param "identifier" string) (result $opened)))))
    (alias export $store "bucket" (type $bucket))
    (alias export $store "error" (type $error))
    (import "wasi:keyvalue/batch@0.2.0-draft2" (instance $batch
      (alias outer 1 $bucket (type $its-bucket))
      (export "bucket" (type $own-bucket (eq $its-bucket)))
      (alias outer 1 $error (type $its-error))
      (export "error" (type $own-error (eq $its-error)))
      (type $pair (tuple string (list u8)))
      (type $pairs (list (option $pair)))
      (type $answer (result $pairs (error $own-error)))
      (type $handle (borrow $own-bucket))
      (export "get-many" (func (param "bucket" $handle) (param "keys" (list string)) (result $answer)))))
    (core module $Memory
      (memory (export "memory") 1)
      (global $next (mut i32) (i32.const 1024))
      (func (export "realloc") (param i32 i32 i32 i32) (result i32)
        (global.get $next)
        (global.set $next
          (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 7)) (i32.const -8)))))
    (core instance $memory (instantiate $Memory))
    (alias core export $memory "memory" (core memory $bytes))
    (alias core export $memory "realloc" (core func $realloc))
    (core func $open (canon lower (func $store "open") (memory $bytes) (realloc $realloc)))
    (core func $get-many (canon lower (func $batch "get-many") (memory $bytes) (realloc $realloc)))
    (core module $Main
      (import "memory" "memory" (memory 1))
      (import "host" "open" (func $open (param i32 i32 i32)))
      (import "host" "get-many" (func $get-many (param i32 i32 i32 i32)))
      (data (i32.const 0) "default")
      (data (i32.const 8) "ax")
      (data (i32.const 16) "\08\00\00\00\01\00\00\00\09\00\00\00\01\00\00\00")
      (func $must (param i32 i32) (if (i32.ne (local.get 0) (local.get 1)) (then unreachable)))
      (func (export "run") (result i32) (local $pairs i32)
        (call $open (i32.const 0) (i32.const 7) (i32.const 64))
        (call $must (i32.load8_u (i32.const 64)) (i32.const 0))
        (call $get-many (i32.load (i32.const 68)) (i32.const 16) (i32.const 2) (i32.const 96))
        (call $must (i32.load8_u (i32.const 96)) (i32.const 0))
        (call $must (i32.load (i32.const 104)) (i32.const 2))
        (local.set $pairs (i32.load (i32.const 100)))
        (call $must (i32.load8_u (local.get $pairs)) (i32.const 1))
        (call $must (i32.load offset=8 (local.get $pairs)) (i32.const 1))
        (call $must (i32.load8_u (i32.load offset=4 (local.get $pairs))) (i32.const 0x61))
        (call $must (i32.load offset=16 (local.get $pairs)) (i32.const 1))
        (call $must (i32.load8_u (i32.load offset=12 (local.get $pairs))) (i32.const 0x31))
        (call $must (i32.load8_u offset=20 (local.get $pairs)) (i32.const 0))
        (i32.const 0)))
    (core instance $main (instantiate $Main
      (with "memory" (instance $memory))
      (with "host" (instance (export "open" (func $open)) (export "get-many" (func $get-many))))))
    (func $run (result (result)) (canon lift (core func $main "run")))
    (instance $cli (export "run" (func $run)))
    (export "wasi:cli/run@0.2.0" (instance $cli)))"#;

#[test]
fn a_guest_gets_the_form_of_get_many_that_it_was_built_for() {
    let world = World::new(Kind::P2);
    let address = actor(&world, "a", GRANTED);
    let host = world.start(&[]);
    address.connect().tell("2 set default a 1", "done");
    address.connect().tell("2 get-many default a x", "a=1 none");
    host.kill();
    world.compile(&wat::parse_str(OLDER_GET_MANY).expect("valid text"), "a");
    let host = world.start(&[]);
    // Its output is empty, and it has not trapped.
    address.knock().expect_whole("");
    host.log.expect("served");
}

#[test]
fn a_store_that_was_not_granted_is_none_and_the_log_says_what_grants_it() {
    let world = World::new(Kind::P2);
    let some = actor(&world, "some", GRANTED);
    let none = actor(&world, "none", "");
    let host = world.start(&[]);
    some.connect().tell("1 get cache k", "error: no such store");
    host.log
        .expect("the guest has no key-value store \"cache\" (keyvalue = { \"cache\" = \"embedded\" }");
    none.connect().tell("2 get default k", "error: no such store");
    assert!(
        !file(&world, "none").parent().unwrap().exists(),
        "nothing is made for it"
    );
    assert!(
        !file(&world, "some").exists(),
        "what is granted and not used is not made"
    );
}

#[test]
fn a_handler_does_not_see_the_stores_of_another() {
    let world = World::new(Kind::P2);
    let (one, other) = (actor(&world, "one", GRANTED), actor(&world, "other", GRANTED));
    let _host = world.start(&[]);
    one.connect().tell("1 set default k secret", "done");
    other.connect().tell("1 get default k", "none");
    other.connect().tell("1 list default", "");
}

#[test]
fn a_swap_fails_if_the_value_has_changed_since_also_if_the_guest_has_read_it_again() {
    let world = World::new(Kind::P2);
    let address = actor(&world, "a", GRANTED);
    let _host = world.start(&[]);
    let mut client = address.connect();
    client.tell("2 late default k", "failed, then swapped");
    client.tell("2 get default k", "=second");
    client.tell("2 add default n 5", "1");
    client.tell("2 get default n", "=5");
}

#[test]
fn swaps_of_many_guests_in_two_hosts_lose_nothing() {
    let world = World::new(Kind::P2);
    let address = actor(&world, "a", GRANTED);
    let (_one, _two) = (world.start(&[]), world.start(&[]));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = address.connect();
                for _ in 0..10 {
                    let attempts = client.ask("2 add default n 1");
                    assert!(attempts.parse::<u32>().is_ok(), "{attempts}");
                }
            });
        }
    });
    address.connect().tell("2 get default n", "=80");
}

#[test]
fn what_a_guest_has_set_is_there_after_a_kill() {
    let world = World::new(Kind::P2);
    let address = actor(&world, "a", GRANTED);
    for round in 0..3 {
        let host = world.start(&[]);
        let mut client = address.connect();
        if round > 0 {
            client.tell("1 get default k", &format!("={}", round - 1));
        }
        client.tell(&format!("1 set default k {round}"), "done");
        host.kill();
    }
}

#[test]
fn a_host_that_ends_leaves_nothing_to_replay() {
    let world = World::new(Kind::P2);
    let address = actor(&world, "a", GRANTED);
    let mut host = world.start(&[]);
    address.connect().tell("1 set default k v", "done");
    host.expect_leave();
    let log = file(&world, "a").with_extension("sqlite-wal");
    assert_eq!(fs::metadata(log).map_or(0, |log| log.len()), 0);
}

#[test]
fn all_keys_are_listed_in_parts_by_either_cursor() {
    let world = World::new(Kind::P2);
    let address = actor(&world, "a", GRANTED);
    let _host = world.start(&[]);
    let mut client = address.connect();
    for hundred in 0..25 {
        let pairs: Vec<String> = (0..100).map(|key| format!("{:05}=x", hundred * 100 + key)).collect();
        client.tell(&format!("1 set-many default {}", pairs.join(" ")), "done");
    }
    for version in ["1", "2"] {
        client.tell(&format!("{version} list default"), "2500 keys in 3 parts, sorted: true");
    }
}

#[test]
fn a_handler_that_has_reached_its_quota_can_read_and_delete() {
    let world = World::new(Kind::P2);
    let address = actor(&world, "a", &format!("{GRANTED}\nkeyvalue-quota = \"256KiB\""));
    let host = world.start(&[]);
    let mut client = address.connect();
    let full = "error: the store is full: it has reached its quota";
    client.tell("1 set-size default large 300000", full);
    client.tell("1 set-size default half 150000", "done");
    client.tell("1 set-size other half 150000", full);
    client.tell("1 size default half", "150000");
    client.tell("1 delete default half", "done");
    client.tell("1 set-size other half 150000", "done");
    host.log.expect("it has reached its quota (see keyvalue-quota");
    client.tell(
        "1 set-size default huge 17000000",
        "error: the value is larger than 16 MiB",
    );
}

#[test]
fn a_damaged_file_is_kept_the_guest_gets_an_error_and_the_log_says_what_to_do() {
    let world = World::new(Kind::P2);
    let address = actor(&world, "a", GRANTED);
    let neighbour = actor(&world, "neighbour", GRANTED);
    let file = file(&world, "a");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    let garbage = b"not a store at all ".repeat(1000);
    fs::write(&file, &garbage).unwrap();
    let host = world.start(&[]);
    let mut client = address.connect();
    for command in [
        "1 get default k",
        "1 set default k v",
        "2 increment default n 1",
        "2 list default",
    ] {
        let answer = client.ask(command);
        assert!(answer.starts_with("error: the store is damaged: "), "{answer}");
    }
    neighbour.connect().tell("1 set default k v", "done");
    assert_eq!(fs::read(&file).unwrap(), garbage, "it is as it was");
    let line = host.log.expect("the store is damaged");
    assert!(
        line.contains(".recover`, and move it away)") && line.contains(file.to_str().unwrap()),
        "{line}"
    );
    // What the log says is done, while the host runs.
    fs::rename(&file, file.with_extension("damaged")).unwrap();
    client.tell("1 set default k v", "done");
    client.tell("1 get default k", "=v");
}

/// Another process that has locked the file stands for a disk that takes its time.
#[test]
fn a_guest_that_waits_for_the_disk_holds_up_no_other_guest_and_no_reader() {
    let world = World::new(Kind::P2);
    let address = actor(&world, "a", GRANTED);
    let neighbour = actor(&world, "neighbour", GRANTED);
    let _host = world.start(&[]);
    let mut client = address.connect();
    client.tell("1 set default k before", "done");
    let slow = Connection::open(file(&world, "a")).unwrap();
    slow.execute_batch("BEGIN IMMEDIATE").unwrap();
    client.send("1 set default k after\n");
    let begin = Instant::now();
    neighbour.connect().tell("1 set default k v", "done");
    address.connect().tell("1 get default k", "=before");
    assert!(!client.hears_anything_within(std::time::Duration::from_millis(100)));
    assert!(begin.elapsed() < PATIENCE);
    slow.execute_batch("ROLLBACK").unwrap();
    assert_eq!(client.line().trim_end(), "done");
    client.tell("1 get default k", "=after");
}

#[test]
fn an_entry_expires_and_what_is_incremented_keeps_its_time() {
    let world = World::new(Kind::P2);
    let brief = "keyvalue = { brief = { at = \"embedded\", expire = \"1s\" }, default = \"embedded\" }";
    let address = actor(&world, "a", brief);
    let _host = world.start(&[]);
    let mut client = address.connect();
    client.tell("1 set default k stays", "done");
    client.tell("1 set brief k goes", "done");
    client.tell("1 get brief k", "=goes");
    let begin = Instant::now();
    eventually("the entry has expired", || client.ask("1 get brief k") == "none");
    assert!(begin.elapsed().as_millis() > 500, "after {:?}", begin.elapsed());
    client.tell("1 get default k", "=stays");
    // A counter of one period: it begins anew, although it is incremented all the time.
    client.tell("2 increment brief n 1", "1");
    eventually("the counter begins anew", || client.ask("2 increment brief n 1") == "1");
}

#[test]
fn an_administrator_reads_the_file_with_sqlite() {
    let world = World::new(Kind::P2);
    let address = actor(&world, "a", GRANTED);
    let _host = world.start(&[]);
    address.connect().tell("1 set default greeting hello", "done");
    let connection = Connection::open(file(&world, "a")).unwrap();
    let value = "SELECT CAST(value AS TEXT) FROM entries WHERE store = 'default' AND key = 'greeting'";
    let value: String = connection.query_row(value, [], |row| row.get(0)).unwrap();
    assert_eq!(value, "hello");
}

/// The example, as its users meet it.
#[test]
fn the_counter_is_right_under_64_clients_in_two_processes() {
    const CLIENTS: usize = 64;
    const EACH: usize = 5;
    let world = World::new(Kind::P2);
    world.install("counter", "counter");
    world.configure("[handler.counter]\nkeyvalue = { default = \"embedded\" }\n");
    let address = world.tcp("counter");
    let (one, two) = (world.start(&[]), world.start(&[]));
    let answers: Vec<u64> = thread::scope(|scope| {
        let post = || {
            let answers = (0..EACH).map(|_| {
                let response = address.http().post("/visits", "");
                assert_eq!(response.status, 200, "{}", response.text());
                response.text().trim().parse().expect("a number")
            });
            answers.collect::<Vec<u64>>()
        };
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(post)).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    });
    // Each of them was told another number.
    let mut sorted = answers.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (1..=(CLIENTS * EACH) as u64).collect::<Vec<_>>());
    one.kill();
    two.kill();
    let _host = world.start(&[]);
    address.get("/visits").expect(200, "320\n");
    address.get("/other").expect(200, "0\n");
    address.get("/").expect_status(404);
}

#[test]
fn the_counter_without_its_grant_says_so() {
    let world = World::new(Kind::P2);
    world.install("counter", "counter");
    let address = world.tcp("counter");
    let host = world.start(&[]);
    address
        .http()
        .post("/visits", "")
        .expect(503, "The counter cannot be reached.\n");
    host.log.expect("keyvalue = { \"default\" = \"embedded\" }");
}
