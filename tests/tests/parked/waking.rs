//! A client wakes a host, whatever the kind of socket, and the host of that moment.

use super::{host, keeper, keeper_for, wait_until_asleep, world};
use harness::{BOTH, Kind, World, wasm_sock};
use std::fs;

#[test]
fn each_knock_is_answered_by_a_host_that_leaves() {
    for kind in BOTH {
        let world = World::new(kind);
        world.install("hello", "hello");
        let address = world.tcp("hello");
        let mut keeper = keeper(&world);
        assert!(keeper.children().is_empty(), "a host runs before a client has come");
        for _ in 0..3 {
            let answer = address.knock().text();
            assert!(answer.starts_with("Hello, "), "{answer}");
            wait_until_asleep(&keeper);
        }
        assert!(keeper.is_running());
        keeper.expect_leave();
    }
}

#[test]
fn every_kind_of_socket_wakes_a_host() {
    let world = World::new(Kind::P2);
    world.install("x", "echo");
    let (stream, unix) = (world.tcp("x"), world.unix("x"));
    let messages = [world.udp("x"), world.unix_datagrams("x"), world.packets("x")];
    let keeper = keeper(&world);
    for address in [stream, unix] {
        assert_eq!(address.ask("hello\n").text(), "hello\n");
        wait_until_asleep(&keeper);
    }
    for destination in messages {
        assert_eq!(destination.ask("hello"), b"hello");
        wait_until_asleep(&keeper);
    }
}

#[test]
fn a_thousand_sockets_are_watched_and_the_last_one_wakes_a_host() {
    let world = world();
    let addresses: Vec<_> = (0..1000).map(|_| world.tcp("hello")).collect();
    let launch = world.launch().descriptors(4096);
    let keeper = launch.args(&["--when-idle", "park", "--idle-timeout", "20ms"]).start();
    keeper.notifications.expect("READY=1");
    for address in [&addresses[999], &addresses[0]] {
        assert!(address.knock().text().starts_with("Hello, "));
        wait_until_asleep(&keeper);
    }
    let kibibytes = super::asleep::proportional_memory(&keeper);
    assert!(kibibytes <= 200, "with a thousand sockets it takes {kibibytes} KiB");
}

#[test]
fn the_next_host_has_the_configuration_the_module_and_the_program_of_its_time() {
    let world = World::new(Kind::P1);
    let copy = world.path("run/wasm-sock");
    harness::copy_program(&wasm_sock(), &copy);
    for sibling in ["wasm-sock-keeper", "wasm-sock-compile"] {
        let original = wasm_sock().with_file_name(sibling);
        harness::copy_program(&original, &copy.with_file_name(sibling));
    }
    world.actor("x", "env", "env = { COLOUR = \"red\" }");
    let address = world.tcp("x");
    let launch = world.launch().program(&copy);
    let keeper = launch.args(&["--when-idle", "park", "--idle-timeout", "20ms"]).start();
    let colour = |expected: &str| {
        let answer = address.knock().text();
        assert!(answer.contains(&format!("COLOUR={expected}\n")), "{answer}");
        wait_until_asleep(&keeper);
    };
    colour("red");
    let config = world.path("config/wasm-sock.toml");
    let text = fs::read_to_string(&config).expect("read").replace("red", "green");
    fs::write(&config, text).expect("write");
    colour("green");
    // Another module of the same name.
    world.install("actor", "hello");
    assert!(address.knock().text().starts_with("Hello, "));
    wait_until_asleep(&keeper);
    // Another program, by a rename as package managers do it.
    let script = copy.with_file_name("new");
    fs::write(&script, "#!/bin/sh\ntouch \"$0.was-run\"\nexec sleep 0.1\n").expect("write");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    fs::rename(&script, &copy).expect("rename");
    let _client = address.connect();
    harness::eventually("the new program was run", || {
        copy.with_file_name("wasm-sock.was-run").exists()
    });
}

#[test]
fn a_host_that_is_not_to_be_parked_any_more_is_the_last() {
    let world = world();
    world.configure("[host]\nwhen-idle = \"park\"\nidle-timeout = \"20ms\"\n");
    let address = world.tcp("hello");
    let mut keeper = world.start(&[]);
    for _ in 0..2 {
        assert!(address.knock().text().starts_with("Hello, "));
        wait_until_asleep(&keeper);
    }
    fs::write(world.path("config/wasm-sock.toml"), "[host]\nidle-timeout = \"20ms\"\n").expect("configure");
    assert!(address.knock().text().starts_with("Hello, "));
    keeper.expect_exit(0);
}

#[test]
fn connections_of_another_process_are_served_without_a_keeper() {
    let world = world();
    let (mut client, passed) = std::os::unix::net::UnixStream::pair().expect("a connection");
    world.pass("hello", passed);
    let mut host = world.start(&["--when-idle", "park"]);
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut client, &mut answer).expect("an answer");
    assert!(answer.starts_with("Hello, "), "{answer}");
    host.expect_exit(0);
}

#[test]
fn without_the_keeper_a_host_serves_says_so_and_exits() {
    let world = world();
    let copy = world.path("run/wasm-sock");
    harness::copy_program(&wasm_sock(), &copy);
    let address = world.tcp("hello");
    let launch = world.launch().program(&copy);
    let mut host = launch.args(&["--when-idle", "park", "--idle-timeout", "200ms"]).start();
    assert!(address.knock().text().starts_with("Hello, "));
    host.log
        .expect("cannot park: cannot run wasm-sock-keeper: it is neither ");
    host.expect_exit(0);
}

#[test]
fn the_state_says_since_when_it_is_asleep_or_awake() {
    let world = world();
    let address = world.tcp("hello");
    let keeper = keeper_for(&world, "300ms");
    let asleep = keeper.notifications.expect("STATUS=asleep since ");
    let (_, time) = asleep.split_once(" since ").expect("a time");
    let date = std::process::Command::new("date")
        .args(["-u", "+%s", "-d", time])
        .output();
    let told = String::from_utf8(date.expect("run date").stdout).expect("a number");
    let told: u64 = told.trim().parse().unwrap_or_else(|_| panic!("no time: {asleep}"));
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a time");
    assert!((0..10).contains(&(now.as_secs() - told)), "{asleep}, and it is {now:?}");
    assert!(address.knock().text().starts_with("Hello, "));
    host(&keeper);
    let awake = keeper.notifications.expect("STATUS=awake since ");
    assert!(awake.contains(" UTC: 1 handler, "), "{awake}");
    wait_until_asleep(&keeper);
    let count = || keeper.notifications.count("STATUS=asleep since ");
    harness::eventually("it says that it is asleep again", || count() == 2);
    for never in ["STOPPING=1", "MAINPID="] {
        assert_eq!(keeper.notifications.count(never), 0, "{never}");
    }
    assert_eq!(keeper.notifications.count("READY=1"), 1);
}
