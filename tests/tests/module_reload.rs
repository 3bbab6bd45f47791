//! A module that is replaced, or removed, while clients connect.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;

use harness::{Address, BOTH, Kind, World, each_kind, eventually, second_version, wasm};

const FIRST: &str = "version 1\n";
const SECOND: &str = "edition 1\n";

/// How often the module is replaced.
const TIMES: usize = 20;

/// Both versions, in the form that the handler is loaded from.
struct Versions {
    world: World,
    contents: [Vec<u8>; 2],
    file: std::path::PathBuf,
}

impl Versions {
    fn new(kind: Kind, compiled: bool) -> Self {
        let world = World::new(kind);
        world.configure("[handler.now]\nmodule = \"m.wasm\"\nargs = [\"version\"]\n");
        world.configure("[handler.hold]\nmodule = \"m.wasm\"\nargs = [\"version\", \"hold\"]\ntimeout = \"10min\"\n");
        let sources = [
            fs::read(wasm(kind, "actor")).expect("read the actor"),
            second_version(kind),
        ];
        let (contents, file) = if compiled {
            let compile = |source: Vec<u8>| {
                let artifact = world.compile(&source, "built");
                let bytes = fs::read(&artifact).expect("read an artifact");
                fs::remove_file(artifact).expect("tidy up");
                bytes
            };
            (sources.map(compile), world.module("m.cwasm"))
        } else {
            (sources, world.module("m.wasm"))
        };
        fs::write(&file, &contents[0]).expect("install a module");
        Self { world, contents, file }
    }
}

/// As a package manager and `wasm-sock compile` do.
fn by_rename(file: &Path, content: &[u8]) {
    let new = file.with_extension("new");
    fs::write(&new, content).expect("write a module");
    fs::rename(new, file).expect("rename");
}

/// As `cp` and `scp` do: the file is empty, then part of it is there, then all.
fn in_place(file: &Path, content: &[u8]) {
    let mut file = fs::File::create(file).expect("open a module");
    for piece in content.chunks(128 * 1024) {
        file.write_all(piece).expect("write a module");
    }
}

/// Replaces the module again and again while two clients knock and others stay connected.
fn replaced_under_load(compiled: bool, replace: fn(&Path, &[u8])) {
    for kind in BOTH {
        let Versions { world, contents, file } = Versions::new(kind, compiled);
        let (now, hold) = (world.tcp("now"), world.tcp("hold"));
        let _host = world.start(&[]);
        let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
        let hammer = || {
            while !stop.load(SeqCst) {
                let answer = now.knock();
                let text = answer.text();
                assert!(text == FIRST || text == SECOND, "{answer:?}");
                answer.expect_whole(&text);
                answers.fetch_add(1, SeqCst);
            }
        };
        thread::scope(|scope| {
            let hammers = [scope.spawn(hammer), scope.spawn(hammer)];
            let mut held = Vec::new();
            for round in 0..TIMES {
                let (text, content) = match round % 2 {
                    0 => (SECOND, &contents[1]),
                    _ => (FIRST, &contents[0]),
                };
                replace(&file, content);
                eventually("a new connection gets the new guest", || {
                    hammers.iter().any(|h| h.is_finished()) || now.knock().text() == text
                });
                let mut client = hold.connect();
                assert_eq!(format!("{}\n", client.line()), text);
                held.push(client);
                let seen = answers.load(SeqCst);
                eventually("clients go on", || {
                    hammers.iter().any(|h| h.is_finished()) || answers.load(SeqCst) > seen + 10
                });
            }
            stop.store(true, SeqCst);
            // Those that ran all the time kept their guest, and are done in good order.
            for mut client in held {
                client.finish();
                client.answer().expect_whole("");
            }
        });
        eprintln!("{} answers", answers.load(SeqCst));
    }
}

#[test]
fn a_cwasm_renamed_into_place_under_load_fails_nobody() {
    replaced_under_load(true, by_rename);
}

#[test]
fn a_cwasm_copied_over_the_old_one_under_load_fails_nobody() {
    replaced_under_load(true, in_place);
}

#[test]
fn a_wasm_renamed_into_place_under_load_fails_nobody() {
    replaced_under_load(false, by_rename);
}

#[test]
fn a_wasm_copied_over_the_old_one_under_load_fails_nobody() {
    replaced_under_load(false, in_place);
}

fn reset_and_logged_once(world: &World, address: &Address, reason: &str) {
    let mut host = world.start(&[]);
    for _ in 0..20 {
        address.knock().expect_reset_after("");
    }
    let line = host.log.expect(reason);
    assert_eq!(host.log.count(reason), 1, "{}", host.log.text());
    assert!(line.contains("hello: "), "{line}");
    host.expect_leave();
}

each_kind! { BOTH: a_removed_module_resets_its_clients_is_logged_once_and_works_when_it_is_back }
fn a_removed_module_resets_its_clients_is_logged_once_and_works_when_it_is_back(kind: Kind) {
    let world = World::new(kind);
    let file = world.install("hello", "hello");
    let address = world.tcp("hello");
    let host = world.start(&[]);
    assert!(address.knock().text().starts_with("Hello"));
    fs::remove_file(&file).unwrap();
    for _ in 0..20 {
        address.knock().expect_reset_after("");
    }
    let line = host.log.expect("no module");
    assert!(line.contains("hello.cwasm") && line.contains("hello.wasm"), "{line}");
    assert_eq!(host.log.count("no module"), 1, "{}", host.log.text());
    world.install("hello", "hello");
    assert!(address.knock().text().starts_with("Hello"));
    drop(host);
    fs::remove_file(&file).unwrap();
    reset_and_logged_once(&world, &address, "no module");
}

each_kind! { BOTH: a_connection_outlives_the_removal_of_its_module }
fn a_connection_outlives_the_removal_of_its_module(kind: Kind) {
    let world = World::new(kind);
    let file = world.install("echo", "echo");
    let address = world.tcp("echo");
    let _host = world.start(&[]);
    let mut client = address.connect();
    client.send("before\n");
    assert_eq!(client.line(), "before");
    fs::remove_file(&file).unwrap();
    client.send("after\n");
    assert_eq!(client.line(), "after");
}
