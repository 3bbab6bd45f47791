//! Where a guest comes from: `.wasm`, `.cwasm`, the cache; each is read when the first client connects.

mod cache;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::inotify;
use rustix::process::{Pid, Signal, kill_process};

use harness::{
    Host, Kind, PATIENCE, World, compiler, copy_program, each_kind, eventually, second_version, wasm, wasm_sock,
};

fn entries(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("list a folder");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<String> = entries
        .map(|entry| name(entry).to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A copy of the program, with the compiler beside it or without.
fn copied_program(world: &World, with_compiler: bool) -> PathBuf {
    let folder = world.path("bin");
    fs::create_dir_all(&folder).unwrap();
    let copy = folder.join("wasm-sock");
    copy_program(&wasm_sock(), &copy);
    if with_compiler {
        copy_program(&compiler(), &folder.join("wasm-sock-compile"));
    }
    copy
}

fn set_age(path: &Path, seconds: u64) {
    let file = File::options().write(true).open(path).unwrap();
    let time = SystemTime::now() - Duration::from_secs(seconds);
    file.set_modified(time).unwrap();
}

each_kind! { BOTH: a_wasm_alone_is_compiled_once_and_kept_for_the_next_start }
fn a_wasm_alone_is_compiled_once_and_kept_for_the_next_start(kind: Kind) {
    let world = World::new(kind);
    world.install_wasm("hello", "hello");
    let address = world.tcp("hello");
    let program = copied_program(&world, true);
    let host = world.launch().program(&program).start();
    assert!(address.knock().text().starts_with("Hello"));
    drop(host);
    let kept = entries(&world.path("cache/modules"));
    assert!(kept.len() == 1 && kept[0].ends_with(".cwasm"), "{kept:?}");
    assert_eq!(entries(&world.module("")), ["hello.wasm"]);

    fs::remove_file(program.with_file_name("wasm-sock-compile")).unwrap();
    let _host = world.launch().program(&program).start();
    assert!(address.knock().text().starts_with("Hello"));
}

#[test]
fn hosts_that_compile_the_same_module_at_once_do_not_disturb_each_other() {
    let world = World::new(Kind::P2);
    world.install_wasm("hello", "hello");
    let address = world.tcp("hello");
    let clients: Vec<_> = (0..4).map(|_| address.connect()).collect();
    let hosts: Vec<_> = (0..4).map(|_| world.start(&[])).collect();
    for mut client in clients {
        assert!(client.answer().text().starts_with("Hello"));
    }
    drop(hosts);
    let kept = entries(&world.path("cache/modules"));
    // By its content, and by the file that it was compiled from.
    assert!((1..=2).contains(&kept.len()), "{kept:?}");
    assert!(kept.iter().all(|name| name.ends_with(".cwasm")), "{kept:?}");
}

#[test]
fn the_cache_never_keeps_one_module_under_the_name_of_another() {
    let world = World::new(Kind::P1);
    world.configure("[handler.actor]\nargs = [\"version\"]\n");
    let address = world.tcp("actor");
    // A build that ends while the compiler starts: the module is replaced under its eyes.
    let module = world.install_wasm("actor", "actor");
    let (first, second) = (world.path("run/first.wasm"), world.path("run/second.wasm"));
    fs::copy(&module, &first).unwrap();
    fs::write(&second, second_version(world.kind)).unwrap();
    let host = world.start(&[]);
    let mut client = address.connect();
    let compiler = StoppedCompiler::of(&host);
    fs::rename(&second, &module).unwrap();
    drop(compiler);
    client.answer();
    address.knock().expect_whole("edition 1\n");
    fs::rename(&first, &module).unwrap();
    address.knock().expect_whole("version 1\n");
}

#[test]
fn a_host_whose_process_for_compiling_was_killed_leaves_and_the_next_one_compiles() {
    let world = World::new(Kind::P1);
    world.configure("[handler.actor]\nargs = [\"version\"]\n");
    let address = world.tcp("actor");
    let module = world.install_wasm("actor", "actor");
    let mut host = world.start(&[]);
    address.knock().expect_whole("version 1\n");
    let keeper = child(host.pid()).expect("it is there");
    kill_process(keeper, Signal::KILL).expect("kill it");
    fs::write(&module, second_version(world.kind)).unwrap();
    // As for a module that is being written, the former serves on.
    address.knock().expect_whole("version 1\n");
    host.expect_exit(0);
    let _host = world.start(&[]);
    address.knock().expect_whole("edition 1\n");
}

/// The compiler that a host runs, as slow as can be. It goes on when this is dropped.
struct StoppedCompiler(Pid);

impl StoppedCompiler {
    /// Stops it as soon as it is there.
    fn of(host: &Host) -> Self {
        let start = Instant::now();
        loop {
            // A process beside the host runs it.
            if let Some(pid) = child(host.pid()).and_then(child) {
                kill_process(pid, Signal::STOP).expect("stop the compiler");
                return Self(pid);
            }
            assert!(start.elapsed() < PATIENCE, "the compiler was never started");
            thread::yield_now();
        }
    }
}

impl Drop for StoppedCompiler {
    fn drop(&mut self) {
        // It is gone when the test has failed.
        let _ = kill_process(self.0, Signal::CONT);
    }
}

/// A child of any of the process's threads.
fn child(parent: Pid) -> Option<Pid> {
    let threads = fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    let children = threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    let mut first = children.filter_map(|list| list.split_whitespace().next()?.parse().ok());
    first.find_map(Pid::from_raw)
}

#[test]
fn while_one_module_is_compiled_the_others_are_served() {
    let world = World::new(Kind::P1);
    world.install("hello", "hello");
    world.install_wasm("slow", "hello");
    let (hello, slow) = (world.tcp("hello"), world.tcp("slow"));
    let mut host = world.start(&["--idle-timeout", "100ms"]);
    let mut waiting = [slow.connect(), slow.connect()];
    let compiler = StoppedCompiler::of(&host);
    for _ in 0..50 {
        assert!(hello.knock().text().starts_with("Hello"));
    }
    assert!(!host.ends_within(Duration::from_millis(300)), "a client waits");
    drop(compiler);
    for client in &mut waiting {
        assert!(client.answer().text().starts_with("Hello"));
    }
    drop(waiting);
    host.expect_exit(0);
}

each_kind! { BOTH: a_cwasm_alone_needs_neither_compiler_nor_cache }
fn a_cwasm_alone_needs_neither_compiler_nor_cache(kind: Kind) {
    let world = World::new(kind);
    world.install("hello", "hello");
    let address = world.tcp("hello");
    let program = copied_program(&world, false);
    let _host = world.launch().program(&program).without("CACHE_DIRECTORY").start();
    assert!(address.knock().text().starts_with("Hello"));
}

each_kind! { BOTH: the_next_start_maps_the_copy_that_the_first_one_left_in_the_cache }
fn the_next_start_maps_the_copy_that_the_first_one_left_in_the_cache(kind: Kind) {
    let world = World::new(kind);
    world.configure("[handler.m]\nmodule = \"m.cwasm\"\nargs = [\"version\"]\n");
    let address = world.tcp("m");
    let maps = |host: &harness::Host| {
        let path = format!("/proc/{}/maps", host.pid().as_raw_nonzero());
        fs::read_to_string(path).expect("read maps")
    };
    let cache = world.path("cache/modules");
    let mut copies = Vec::new();
    let contents = [fs::read(wasm(kind, "actor")).unwrap(), second_version(kind)];
    for (content, answer) in contents.iter().zip(["version", "edition"]) {
        world.compile(content, "m");
        // What was written this very moment is not copied.
        std::thread::sleep(Duration::from_millis(600));
        let host = world.start(&[]);
        assert!(address.knock().text().starts_with(answer));
        let before = copies.clone();
        eventually("the copy is the only one", || {
            copies = entries(&cache);
            copies.len() == 1 && copies[0].ends_with(".cwasm") && copies != before
        });
        drop(host);

        let host = world.start(&[]);
        assert!(address.knock().text().starts_with(answer));
        let mapped = maps(&host);
        assert!(mapped.contains(&copies[0]) && !mapped.contains("memfd:artifact"));
    }

    // A copy that was damaged is passed over.
    fs::write(cache.join(&copies[0]), "nonsense").unwrap();
    let _host = world.start(&[]);
    assert!(address.knock().text().starts_with("edition"));
}

each_kind! { BOTH: without_a_cache_directory_a_wasm_is_compiled_all_the_same }
fn without_a_cache_directory_a_wasm_is_compiled_all_the_same(kind: Kind) {
    let world = World::new(kind);
    world.install_wasm("hello", "hello");
    let address = world.tcp("hello");
    let host = world.launch().without("CACHE_DIRECTORY").start();
    assert!(address.knock().text().starts_with("Hello"));
    drop(host);
    let host = world.launch().env("CACHE_DIRECTORY", "/proc/none").start();
    assert!(address.knock().text().starts_with("Hello"));
    let line = host.log.expect("/proc/none");
    assert!(line.contains("every start compiles"), "{line}");
}

each_kind! { BOTH: of_a_wasm_and_a_cwasm_the_one_built_last_is_taken }
fn of_a_wasm_and_a_cwasm_the_one_built_last_is_taken(kind: Kind) {
    let world = World::new(kind);
    world.configure("[handler.actor]\nargs = [\"version\"]\n");
    let cwasm = world.install("actor", "actor");
    let wasm = world.module("actor.wasm");
    fs::write(&wasm, second_version(kind)).unwrap();
    let address = world.tcp("actor");
    let _host = world.start(&[]);
    for (wasm_age, cwasm_age, answer) in [
        (100, 50, "version 1\n"),
        (50, 100, "edition 1\n"),
        (30, 20, "version 1\n"),
    ] {
        set_age(&wasm, wasm_age);
        set_age(&cwasm, cwasm_age);
        address.knock().expect_whole(answer);
    }
}

#[test]
fn the_missing_compiler_is_told_with_what_to_do() {
    let world = World::new(Kind::P1);
    world.install_wasm("hello", "hello");
    let address = world.tcp("hello");
    let program = copied_program(&world, false);
    let host = world.launch().program(&program).start();
    address.knock().expect_reset_after("");
    let line = host.log.expect("cannot run");
    let script = program.with_file_name("wasm-sock-compile");
    assert!(line.contains(&script.display().to_string()), "{line}");
    assert!(line.contains("wasm-sock compile"), "{line}");
}

each_kind! { BOTH: only_modules_that_somebody_knocked_for_are_opened }
fn only_modules_that_somebody_knocked_for_are_opened(kind: Kind) {
    let world = World::new(kind);
    let addresses: Vec<_> = (0..30)
        .map(|number| {
            let name = format!("hello{number}");
            world.install(&name, "hello");
            world.tcp(&name)
        })
        .collect();
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
    let watch = watch.expect("inotify_init");
    inotify::add_watch(&watch, world.module(""), inotify::WatchFlags::OPEN).unwrap();
    let _host = world.start(&[]);
    for number in [3, 17] {
        assert!(addresses[number].knock().text().starts_with("Hello"));
    }
    let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
    let mut reader = inotify::Reader::new(&watch, &mut buffer);
    let mut opened = BTreeSet::new();
    while let Ok(event) = reader.next() {
        if let Some(name) = event.file_name() {
            opened.insert(name.to_string_lossy().into_owned());
        }
    }
    let expected = ["hello17.cwasm", "hello3.cwasm"].map(String::from);
    assert_eq!(opened, BTreeSet::from(expected));
}

each_kind! { BOTH: module_serves_every_socket_with_one_file_whatever_its_name }
fn module_serves_every_socket_with_one_file_whatever_its_name(kind: Kind) {
    let world = World::new(kind);
    let (one, two) = (world.tcp("one"), world.unix("two.socket"));
    let file = wasm(kind, "hello");
    let _host = world.start(&["--module", file.to_str().unwrap()]);
    assert!(one.knock().text().contains("knock on one over TCP"));
    assert!(two.knock().text().contains("knock on two over UNIX"));
}

each_kind! { BOTH: a_module_may_lie_outside_of_the_module_folder }
fn a_module_may_lie_outside_of_the_module_folder(kind: Kind) {
    let world = World::new(kind);
    let file = wasm(kind, "hello");
    world.configure(&format!("[handler.greet]\nmodule = {file:?}\n"));
    let address = world.tcp("greet");
    let _host = world.start(&[]);
    assert!(address.knock().text().contains("knock on greet"));
}
