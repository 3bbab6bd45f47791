//! What a host that has confined itself cannot get: the next host has it, and no client is lost.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use harness::{Host, Kind, World, each_kind, eventually};
use rustix::process::Signal;

use super::{coloured, configure, handler, reload, replace, start, world};

const QUIET: Duration = Duration::from_millis(100);

/// The guest lists `/d`, which is this folder.
fn listing(world: &World, folder: &str) -> String {
    let host = world.path(folder);
    handler(
        "it",
        "files /d",
        &format!("dirs = [{{ host = {host:?}, guest = \"/d\" }}]"),
    )
}

/// Folders with a file of the same name in each.
fn folders(world: &World, names: &[&str]) {
    for name in names {
        let path = world.path(name);
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join(format!("in-{}", name.replace('/', "-"))), "").unwrap();
    }
}

/// The host says why it hands over, and ends well.
#[track_caller]
fn expect_hand_over(host: &mut Host, why: &str) {
    host.log.expect(why);
    host.log
        .expect("it ends its connections, and the next host starts with it");
    host.expect_exit(0);
    let told = host.notifications.lines();
    let told: Vec<&str> = told
        .iter()
        .map(String::as_str)
        .filter(|line| !line.starts_with("STATUS="))
        .collect();
    assert!(told.ends_with(&["READY=1", "STOPPING=1"]), "{told:?}");
}

#[test]
fn less_takes_effect_in_place_and_more_in_the_next_host() {
    let world = world(Kind::P1);
    folders(&world, &["a", "a/sub", "b"]);
    configure(&world, &listing(&world, "a"));
    let address = world.tcp("it");
    let mut host = start(&world, &[]);
    assert!(address.knock().text().contains("entry: in-a\n"));
    configure(&world, &listing(&world, "a/sub"));
    reload(&host);
    assert!(address.knock().text().contains("entry: in-a-sub\n"));
    configure(&world, &listing(&world, "b"));
    host.signal(Signal::HUP);
    let why = format!("it needs to read and list {}", world.path("b").display());
    expect_hand_over(&mut host, &why);
    let _next = start(&world, &[]);
    assert!(address.knock().text().contains("entry: in-b\n"));
}

each_kind! { BOTH: while_a_host_hands_over_its_connections_go_on_and_new_clients_wait_for_the_next }
fn while_a_host_hands_over_its_connections_go_on_and_new_clients_wait_for_the_next(kind: Kind) {
    let world = world(kind);
    folders(&world, &["a"]);
    configure(&world, &(coloured("red") + &handler("hold", "pingpong", "")));
    let (address, held) = (world.tcp("it"), world.tcp("hold"));
    let mut host = start(&world, &[]);
    let mut open = held.connect();
    let mut echoes = |word: &str| {
        open.send(format!("{word}\n"));
        assert_eq!(open.line(), word);
    };
    echoes("before");
    let wider = listing(&world, "a") + &handler("hold", "pingpong", "");
    configure(&world, &wider);
    host.signal(Signal::HUP);
    host.notifications.expect("STOPPING=1");
    let mut next = address.connect();
    assert!(!next.hears_anything_within(QUIET), "it is the next host's");
    echoes("after");
    open.finish();
    open.answer().expect_whole("");
    host.expect_exit(0);
    let _next_host = start(&world, &[]);
    assert!(next.answer().text().contains("entry: in-a\n"));
}

#[test]
fn the_drain_timeout_of_a_host_that_hands_over_is_the_new_one() {
    let world = world(Kind::P1);
    folders(&world, &["a"]);
    let settings = |drain: &str, it: &str| {
        format!(
            "[host]\ndrain-timeout = {drain:?}\n{it}{}",
            handler("hold", "pingpong", "")
        )
    };
    configure(&world, &settings("1h", &coloured("red")));
    world.tcp("it");
    let held = world.tcp("hold");
    let mut host = start(&world, &[]);
    let mut open = held.connect();
    open.send("a\n");
    assert_eq!(open.line(), "a");
    configure(&world, &settings("100ms", &listing(&world, "a")));
    host.signal(Signal::HUP);
    host.expect_exit(0);
    open.answer().expect_reset_after("");
}

#[test]
fn destinations_are_for_the_running_host_and_the_first_one_is_for_the_next_host() {
    let world = world(Kind::P1);
    let allow = |destinations: &str| handler("it", "env", &format!("allow-outbound = [{destinations}]"));
    configure(&world, &allow("\"127.0.0.1:80\", \"127.0.0.1:81\""));
    let address = world.tcp("it");
    let host = start(&world, &[]);
    configure(&world, &allow("\"127.0.0.1:82\", \"localhost:80\""));
    reload(&host);
    host.log.expect("reload: applied");
    assert!(address.knock().text().contains("WASM_SOCK_NAME=it"));
    drop(host);
    configure(&world, &allow(""));
    let mut host = start(&world, &[]);
    configure(&world, &allow("\"127.0.0.1:82\""));
    host.signal(Signal::HUP);
    expect_hand_over(&mut host, "it needs to reach out (`allow-outbound`)");
}

#[test]
fn a_stack_and_a_module_to_compile_are_for_the_next_host() {
    let world = world(Kind::P1);
    world.install_wasm("hello", "hello");
    configure(&world, &coloured("red"));
    let address = world.tcp("it");
    let mut host = start(&world, &[]);
    configure(&world, &format!("[host]\nstack = \"1MiB\"\n{}", coloured("green")));
    host.signal(Signal::HUP);
    expect_hand_over(&mut host, "`stack` in [host]");
    let mut host = start(&world, &[]);
    assert!(address.knock().text().contains("COLOUR=green\n"));
    configure(
        &world,
        "[host]\nstack = \"1MiB\"\n[handler.it]\nmodule = \"hello.wasm\"\n",
    );
    host.signal(Signal::HUP);
    expect_hand_over(&mut host, "it needs to compile another module");
    let _host = start(&world, &[]);
    assert!(address.knock().text().starts_with("Hello"));
}

#[test]
fn a_file_of_the_command_line_is_read_again_or_by_the_next_host_if_it_was_replaced() {
    let world = world(Kind::P1);
    fs::create_dir_all(world.path("elsewhere")).unwrap();
    let file = world.path("elsewhere/own.toml");
    fs::write(&file, coloured("red")).unwrap();
    let address = world.tcp("it");
    let arguments = ["--config", file.to_str().expect("plain text")];
    let modules = format!("[host]\nmodules = {:?}\n", world.path("state/modules"));
    fs::write(&file, modules.clone() + &coloured("red")).unwrap();
    let mut host = start(&world, &arguments);
    assert!(address.knock().text().contains("COLOUR=red\n"));
    fs::write(&file, modules.clone() + &coloured("green")).unwrap();
    reload(&host);
    assert!(address.knock().text().contains("COLOUR=green\n"));
    replace(&world, "elsewhere/own.toml", &(modules + &coloured("blue")));
    host.signal(Signal::HUP);
    expect_hand_over(&mut host, "own.toml cannot be read by the running host");
    let _next = start(&world, &arguments);
    assert!(address.knock().text().contains("COLOUR=blue\n"));
}

#[test]
fn folders_that_were_not_there_when_the_host_began_are_read_by_the_next() {
    let world = world(Kind::P1);
    world.install("it", "hello");
    fs::remove_dir_all(world.path("config")).unwrap();
    let address = world.tcp("it");
    let mut host = start(&world, &[]);
    assert!(address.knock().text().starts_with("Hello"));
    reload(&host);
    host.log.expect("there is no configuration to read");
    fs::create_dir(world.path("config")).unwrap();
    configure(&world, &coloured("green"));
    host.signal(Signal::HUP);
    expect_hand_over(&mut host, "wasm-sock.toml cannot be read by the running host");
    let mut host = start(&world, &[]);
    assert!(address.knock().text().contains("COLOUR=green\n"));
    // One beneath a folder that was there.
    configure(&world, "");
    fs::create_dir(world.path("config/handlers.d")).unwrap();
    replace(&world, "config/handlers.d/it.toml", &coloured("blue"));
    reload(&host);
    assert!(address.knock().text().contains("COLOUR=blue\n"));
    host.expect_leave();
}

#[test]
fn a_host_that_must_not_read_the_configuration_again_hands_over() {
    let world = world(Kind::P1);
    let settings = |colour| format!("[host]\nreload = \"hand-over\"\n{}", coloured(colour));
    configure(&world, &settings("red"));
    let address = world.tcp("it");
    let mut host = start(&world, &[]);
    assert!(address.knock().text().contains("COLOUR=red\n"));
    configure(&world, &settings("green"));
    host.signal(Signal::HUP);
    expect_hand_over(&mut host, "wasm-sock.toml cannot be read by the running host");
    let _next = start(&world, &[]);
    assert!(address.knock().text().contains("COLOUR=green\n"));
}

#[test]
fn a_host_that_began_with_a_bad_configuration_makes_room_for_one_with_the_corrected() {
    let world = world(Kind::P1);
    configure(&world, "[defaults]\nmemroy = 1\n");
    let address = world.tcp("it");
    let mut host = start(&world, &[]);
    address.knock().expect_reset_after("");
    reload(&host);
    host.log.expect("reload: the settings stay what they were");
    configure(&world, &coloured("green"));
    host.signal(Signal::HUP);
    expect_hand_over(&mut host, "the configuration can be used now");
    let _next = start(&world, &[]);
    assert!(address.knock().text().contains("COLOUR=green\n"));
}

#[test]
fn a_handler_with_a_mistake_is_served_after_its_correction_and_a_reload() {
    let world = world(Kind::P1);
    fs::create_dir_all(world.path("config/handlers.d")).unwrap();
    configure(&world, &handler("fine", "env", ""));
    replace(&world, "config/handlers.d/it.toml", "[handler.it]\nmemroy = 1\n");
    let (address, fine) = (world.tcp("it"), world.tcp("fine"));
    let host = start(&world, &[]);
    address.knock().expect_reset_after("");
    assert!(fine.knock().text().contains("WASM_SOCK_NAME=fine"));
    replace(&world, "config/handlers.d/it.toml", &coloured("green"));
    reload(&host);
    assert!(address.knock().text().contains("COLOUR=green\n"));
}

/// Reloads under load: every client is answered whole, with settings that were there.
#[test]
fn no_client_is_lost_by_reloads_good_and_bad_narrowing_and_widening() {
    let world = World::new(Kind::P1);
    world.install("actor", "actor");
    folders(&world, &["a", "b"]);
    let steps = [
        listing(&world, "a"),
        listing(&world, "b"),
        "[handler.it]\nmemroy = 1\n".to_owned(),
        listing(&world, "b") + "timeout = \"59s\"\n",
        coloured("green"),
        coloured("red"),
    ];
    configure(&world, &steps[5]);
    let address = world.tcp("it");
    let supervisor = world.launch().supervise();
    let (stop, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let knock = || {
        let answer = address.knock();
        let text = answer.text();
        let is_known = ["entry: in-a\n", "entry: in-b\n", "COLOUR=green\n", "COLOUR=red\n"];
        assert!(is_known.iter().any(|known| text.contains(known)), "{answer:?}");
        answer.expect_whole(&text);
        answers.fetch_add(1, SeqCst);
        text
    };
    thread::scope(|scope| {
        let hammers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(SeqCst) {
                        knock();
                    }
                })
            })
            .collect();
        let seen = [
            "entry: in-a\n",
            "entry: in-b\n",
            "entry: in-b\n",
            "entry: in-b\n",
            "COLOUR=green\n",
            "COLOUR=red\n",
        ];
        for _ in 0..4 {
            for (step, seen) in steps.iter().zip(seen) {
                configure(&world, step);
                let before = answers.load(SeqCst);
                // The signal may come to a host that has not begun to hold signals back, or that is ending.
                eventually("the new settings are seen", || {
                    supervisor.signal(Signal::HUP);
                    thread::sleep(Duration::from_millis(10));
                    knock().contains(seen)
                });
                eventually("all clients go on", || answers.load(SeqCst) > before + 20);
            }
        }
        stop.store(true, SeqCst);
        for hammer in hammers {
            hammer.join().expect("no client is lost");
        }
    });
    assert!(supervisor.hosts() > 4, "{} hosts", supervisor.hosts());
    assert_eq!(supervisor.failures(), Vec::<String>::new());
}
