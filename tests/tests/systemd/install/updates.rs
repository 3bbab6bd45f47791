//! `install` again: what was not given stays, running connections finish, no client is refused.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::thread;

use harness::Kind;
use harness::systemctl::property;

use super::{alone, ask, assert_no_trace, fails, module, succeeds, traces};

/// Clients that connect again and again while `change` runs; each has to get a whole answer. Returns how many there
/// were.
fn under_load(port: u16, is_whole: fn(&str) -> bool, change: impl FnOnce()) -> u32 {
    let (ends, clients) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !ends.load(SeqCst) {
                    let answer = ask(port, "").expect("a client is served");
                    assert!(is_whole(&answer), "not a whole answer: {answer:?}");
                    clients.fetch_add(1, SeqCst);
                }
            });
        }
        // Without it, a panic in `change` would leave the clients running.
        struct End<'a>(&'a AtomicBool);
        impl Drop for End<'_> {
            fn drop(&mut self) {
                self.0.store(true, SeqCst);
            }
        }
        let _end = End(&ends);
        change();
    });
    clients.into_inner()
}

#[test]
fn updates_under_load_lose_no_client() {
    let _alone = alone();
    let before = traces("busy");
    let folder = tempfile::tempdir().unwrap();
    let second = folder.path().join("second.wasm");
    fs::write(&second, harness::second_version(Kind::P1)).unwrap();
    let versions = [module(Kind::P1, "actor"), second.display().to_string()];
    let install = |module: &str| succeeds(&["install", module, "--name=busy", "--listen=23300", "--arg=version"]);
    install(&versions[0]);
    let is_whole = |answer: &str| ["version 1\n", "edition 1\n"].contains(&answer);
    let clients = under_load(23_300, is_whole, || {
        for round in 0..6 {
            let said = install(&versions[(round + 1) % 2]);
            assert!(said.starts_with("busy is updated: "), "{said}");
            let answer = ask(23_300, "").unwrap();
            let expected = ["edition 1\n", "version 1\n"][round % 2];
            assert_eq!(answer, expected, "after update {round}");
        }
    });
    assert!(clients > 50, "only {clients} clients");
    succeeds(&["uninstall", "busy", "--purge"]);
    assert_no_trace("busy", &before);
}

#[test]
fn a_port_is_added_and_removed_under_load_and_no_client_of_the_other_is_lost() {
    let _alone = alone();
    let actor = module(Kind::P1, "actor");
    let install = |addresses: &[&str]| {
        let addresses = addresses.iter().map(|address| format!("--listen={address}"));
        let addresses: Vec<String> = addresses.collect();
        let mut arguments = vec!["install", &actor, "--name", "growing", "--arg=version"];
        arguments.extend(addresses.iter().map(String::as_str));
        succeeds(&arguments)
    };
    install(&["23310"]);
    let clients = under_load(
        23_310,
        |answer| answer == "version 1\n",
        || {
            for _ in 0..3 {
                install(&["23310", "23311"]);
                assert_eq!(ask(23_311, "").unwrap(), "version 1\n");
                install(&["23310"]);
                harness::eventually("the port was closed", || ask(23_311, "").is_err());
            }
        },
    );
    assert!(clients > 50, "only {clients} clients");
    succeeds(&["uninstall", "growing"]);
}

#[test]
fn an_update_that_fails_its_knock_leaves_the_former_module_and_settings_serving() {
    let _alone = alone();
    let name = "careful";
    succeeds(&[
        "install",
        &module(Kind::P1, "hello"),
        "--name",
        name,
        "--listen",
        "23320",
    ]);
    let before = traces(name);
    let settings = fs::read_to_string("/etc/wasm-sock/handlers.d/careful.toml").unwrap();
    let actor = module(Kind::P1, "actor");
    let said = fails(&["install", &actor, "--name", name, "--arg", "trap-early"]);
    assert!(said.contains("its guest failed"), "{said}");
    assert_eq!(
        fs::read_to_string("/etc/wasm-sock/handlers.d/careful.toml").unwrap(),
        settings
    );
    assert!(ask(23_320, "").unwrap().starts_with("Hello"));
    // Also with another address, and what was running.
    let said = fails(&[
        "install",
        &actor,
        "--name",
        name,
        "--arg",
        "trap-early",
        "--listen",
        "23321",
    ]);
    assert!(said.contains("its guest failed"), "{said}");
    assert!(ask(23_320, "").unwrap().starts_with("Hello"));
    assert!(ask(23_321, "").is_err());
    assert_no_trace(name, &before);
    succeeds(&["uninstall", name]);
}

#[test]
fn of_the_settings_only_those_given_change_and_the_running_service_has_them() {
    let _alone = alone();
    let name = "tuned";
    let actor = module(Kind::P1, "actor");
    let settings = "/etc/wasm-sock/handlers.d/tuned.toml";
    let given = ["--listen=23330", "--arg=env", "--set=memory=32MiB", "--env=A=1"];
    succeeds(&[&["install", &actor, "--name", name][..], &given].concat());
    let text = fs::read_to_string(settings).unwrap();
    fs::write(settings, text.replace("32MiB\"", "32MiB\" # measured")).unwrap();
    let artifact = fs::metadata("/var/lib/wasm-sock/modules/tuned.cwasm")
        .unwrap()
        .modified()
        .unwrap();
    let said = succeeds(&["install", &actor, "--name", name, "--env", "B=2"]);
    assert!(said.starts_with("tuned is updated: "), "{said}");
    let text = fs::read_to_string(settings).unwrap();
    assert!(
        text.ends_with(
            "[handler.tuned]\nlisten = [\"23330\"]\nargs = [\"env\"]\nenv = { A = \"1\", B = \"2\" }\n\
             memory = \"32MiB\" # measured\n"
        ),
        "{text}"
    );
    let again = fs::metadata("/var/lib/wasm-sock/modules/tuned.cwasm")
        .unwrap()
        .modified()
        .unwrap();
    assert_eq!(artifact, again, "the same module was compiled again");
    let environment = ask(23_330, "").unwrap();
    assert!(environment.contains("B=2"), "{environment:?}");
    let said = succeeds(&["install", &actor, "--name", name]);
    assert!(said.starts_with("tuned is as it was: "), "{said}");
    succeeds(&["uninstall", name, "--purge"]);
}

#[test]
fn an_address_that_moves_takes_the_service_along() {
    let _alone = alone();
    let echo = module(Kind::P1, "echo");
    let name = "mover";
    succeeds(&["install", &echo, "--name", name, "--listen", "23340"]);
    let mut client = TcpStream::connect("127.0.0.1:23340").unwrap();
    client.write_all(b"last words").unwrap();
    let mut answer = [0; 10];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"last words");
    client.shutdown(std::net::Shutdown::Write).unwrap();
    succeeds(&["install", &echo, "--name", name, "--listen", "127.0.0.1:23340"]);
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "");
    assert_eq!(property("wasm-sock@mover.socket", "Listen"), "127.0.0.1:23340 (Stream)");
    succeeds(&["install", &echo, "--name", name, "--process", "shared"]);
    assert_eq!(ask(23_340, "shared").unwrap(), "shared");
    assert_eq!(property("wasm-sock@mover.socket", "Triggers"), "wasm-sock.service");
    succeeds(&["install", &echo, "--name", name, "--process", "connection"]);
    assert_eq!(ask(23_340, "accepted").unwrap(), "accepted");
    let said = succeeds(&["uninstall", name]);
    assert_eq!(said, "mover is uninstalled.\n");
    assert!(ask(23_340, "").is_err());
}
