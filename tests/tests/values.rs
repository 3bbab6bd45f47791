//! `config` and `secrets`: what a guest may ask for by name, in all versions of `wasi:config`.

use std::fs::{self, File};
use std::os::unix::fs::symlink;

use harness::{Address, Host, Kind, World};

const VERSIONS: [&str; 4] = ["rc.1", "2024-09-27", "draft", "runtime"];
const FAILED: &str = "Error::Io(\"the value cannot be read (the host's log tells why)\")\n";

/// A world with a folder for credentials.
fn world() -> World {
    let world = World::new(Kind::P2);
    world.install("asker", "config-actor");
    fs::create_dir(world.path("credentials")).unwrap();
    world
}

/// A handler that answers questions, with these settings.
fn asker(world: &World, name: &str, settings: &str) -> Address {
    world.configure(&format!("[handler.{name:?}]\nmodule = \"asker.cwasm\"\n{settings}\n"));
    world.tcp(name)
}

fn start(world: &World) -> Host {
    let folder = world.path("credentials").display().to_string();
    world.launch().env("CREDENTIALS_DIRECTORY", &folder).start()
}

fn get(address: &Address, key: &str) -> String {
    address.ask(&format!("rc.1 get {key}\n")).text()
}

#[test]
fn every_version_of_the_interface_gives_the_same_values() {
    let world = world();
    fs::write(world.path("motd"), "Good morning\n").unwrap();
    fs::write(world.path("credentials/asker.token"), "s3cret\n").unwrap();
    let motd = world.path("motd");
    let settings = format!("config = {{ greeting = \"hi\", motd = {{ file = {motd:?} }} }}\nsecrets = [\"token\"]");
    let address = asker(&world, "asker", &settings);
    let _host = start(&world);
    for version in VERSIONS {
        let questions = ["get greeting", "get motd", "get token", "get other", "get-all"];
        let questions = questions.map(|question| format!("{version} {question}\n")).concat();
        let expected = "value \"hi\"\nvalue \"Good morning\"\nvalue \"s3cret\"\nnone\n\
                        [(\"greeting\", \"hi\"), (\"motd\", \"Good morning\")]\n";
        address.ask(&questions).expect_whole(expected);
    }
}

#[test]
fn a_handler_sees_its_own_secrets_and_no_other() {
    let world = world();
    for name in ["a.token", "b.token", "a.b.token", "token", "a.other"] {
        fs::write(world.path("credentials").join(name), format!("of {name}")).unwrap();
    }
    let a = asker(&world, "a", "secrets = [\"token\"]");
    let b = asker(&world, "b", "secrets = [\"token\"]");
    let dotted = asker(&world, "a.b", "secrets = [\"token\"]");
    let none = asker(&world, "c", "");
    let _host = start(&world);
    assert_eq!(get(&a, "token"), "value \"of a.token\"\n");
    assert_eq!(get(&b, "token"), "value \"of b.token\"\n");
    assert_eq!(get(&dotted, "token"), "value \"of a.b.token\"\n");
    assert_eq!(get(&none, "token"), "none\n");
    for key in ["b.token", "a.token", "other", "../token", "", "token\0", "a.b.token"] {
        assert_eq!(get(&a, key), "none\n", "{key:?}");
    }
}

#[test]
fn a_secret_that_is_missing_is_an_error_for_the_guest_that_asks_and_for_no_other() {
    let world = world();
    fs::write(world.path("credentials/asker.there"), "x").unwrap();
    let address = asker(
        &world,
        "asker",
        "secrets = [\"there\", \"missing\"]\nconfig = { a = \"b\" }",
    );
    let host = start(&world);
    assert_eq!(get(&address, "missing"), FAILED);
    host.log.expect(
        "secret \"missing\": the service has no credential asker.missing (put it into /etc/credstore/asker.missing",
    );
    assert_eq!(get(&address, "there"), "value \"x\"\n");
    assert_eq!(get(&address, "a"), "value \"b\"\n");
    // It is told a few times, not each time.
    address
        .ask(&"rc.1 get missing\n".repeat(1000))
        .expect_whole(&FAILED.repeat(1000));
    let told = host.log.count("no credential asker.missing");
    assert!((1..=10).contains(&told), "{told} lines");
}

#[test]
fn a_secret_that_no_guest_asks_for_is_not_read() {
    let world = world();
    // One that is read would be refused: a pipe that has no writer, and whose reader would wait.
    let status = std::process::Command::new("mkfifo")
        .arg(world.path("credentials/asker.token"))
        .status();
    assert!(status.unwrap().success());
    let address = asker(&world, "asker", "secrets = [\"token\"]\nconfig = { a = \"b\" }");
    let host = start(&world);
    assert_eq!(get(&address, "a"), "value \"b\"\n");
    assert_eq!(address.ask("rc.1 get-all\n").text(), "[(\"a\", \"b\")]\n");
    assert_eq!(host.log.count("token"), 0);
    assert_eq!(get(&address, "token"), FAILED);
    host.log
        .expect("secret \"token\": cannot read the credential asker.token: it is no regular file");
}

#[test]
fn a_value_stays_the_same_until_a_reload_and_is_then_read_anew() {
    let world = world();
    let motd = world.path("motd");
    fs::write(&motd, "one").unwrap();
    let address = asker(&world, "asker", &format!("config = {{ motd = {{ file = {motd:?} }} }}"));
    let host = start(&world);
    let mut early = address.connect();
    early.send("rc.1 get motd\n");
    assert_eq!(early.line(), "value \"one\"");
    // In place: the sandbox knows this file, and no other of its name.
    fs::write(&motd, "two").unwrap();
    assert_eq!(get(&address, "motd"), "value \"one\"\n");
    host.signal(rustix::process::Signal::HUP);
    host.log.expect("reload");
    harness::eventually("the next guests have the new value", || {
        get(&address, "motd") == "value \"two\"\n"
    });
    early.send("rc.1 get motd\n");
    assert_eq!(early.line(), "value \"one\"", "it does not change while a guest runs");
}

#[test]
fn a_host_leaves_for_one_that_can_read_a_file_that_was_replaced() {
    let world = world();
    let motd = world.path("motd");
    fs::write(&motd, "one").unwrap();
    let address = asker(
        &world,
        "asker",
        &format!("config = {{ motd = {{ file = {motd:?} }}, a = \"b\" }}"),
    );
    let mut host = start(&world);
    assert_eq!(get(&address, "a"), "value \"b\"\n");
    fs::write(world.path("new"), "two").unwrap();
    fs::rename(world.path("new"), &motd).unwrap();
    assert_eq!(get(&address, "motd"), FAILED);
    host.log
        .expect("it was created or replaced after this host had entered its sandbox");
    host.expect_exit(0);
    let _next = start(&world);
    assert_eq!(get(&address, "motd"), "value \"two\"\n");
}

#[test]
fn a_link_is_followed_and_what_is_beside_it_is_not_readable() {
    let world = world();
    fs::create_dir(world.path("elsewhere")).unwrap();
    fs::write(world.path("elsewhere/token"), "linked").unwrap();
    symlink(world.path("elsewhere/token"), world.path("credentials/asker.token")).unwrap();
    let address = asker(&world, "asker", "secrets = [\"token\"]");
    let _host = start(&world);
    assert_eq!(get(&address, "token"), "value \"linked\"\n");
}

#[test]
fn a_secret_that_a_reload_adds_is_the_next_hosts() {
    let world = world();
    fs::write(world.path("credentials/asker.token"), "x").unwrap();
    let address = asker(&world, "asker", "");
    let mut host = start(&world);
    assert_eq!(get(&address, "token"), "none\n");
    world.configure("secrets = [\"token\"]\n");
    host.signal(rustix::process::Signal::HUP);
    host.log.expect("asker needs to read");
    host.expect_exit(0);
    let _next = start(&world);
    assert_eq!(get(&address, "token"), "value \"x\"\n");
}

#[test]
fn a_file_that_is_no_text_or_too_large_is_an_error() {
    let world = world();
    fs::write(world.path("credentials/asker.binary"), [0xff, 0xfe]).unwrap();
    File::create(world.path("credentials/asker.large"))
        .unwrap()
        .set_len((1 << 20) + 1)
        .unwrap();
    let address = asker(&world, "asker", "secrets = [\"binary\", \"large\"]");
    let host = start(&world);
    assert_eq!(get(&address, "binary"), FAILED);
    host.log
        .expect("cannot read the credential asker.binary: it is not UTF-8");
    assert_eq!(get(&address, "large"), FAILED);
    host.log
        .expect("cannot read the credential asker.large: it has more than 1 MiB");
}
