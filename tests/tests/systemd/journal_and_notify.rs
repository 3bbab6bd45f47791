//! What systemd and its journal are told.

use std::fs;
use std::process::Command;

use harness::eventually;
use harness::systemctl::{Service, install, install_guest, output, systemctl};

/// A service whose handlers are actors: a socket's name is the part it plays.
fn actors(name: &str, handlers: &[(&str, &str)]) -> Service {
    install();
    install_guest("actor.cwasm", "actor");
    let mut config = "[host]\nidle-timeout = \"2s\"\n".to_owned();
    for (handler, part) in handlers {
        let args: Vec<&str> = part.split(' ').collect();
        config += &format!("[handler.{handler}]\nmodule = \"actor.cwasm\"\nargs = {args:?}\n");
    }
    let folder = format!("/etc/wasm-sock/{name}");
    fs::create_dir_all(&folder).unwrap();
    fs::write(format!("{folder}/wasm-sock.toml"), config).unwrap();
    Service::shared(name, &format!("--config {folder}/wasm-sock.toml"))
}

#[test]
fn what_a_guest_says_on_stderr_is_in_the_journal_with_its_handler_and_its_caller() {
    let service = actors("talking", &[("talker", "stderr")]);
    let socket = service.listen("talker.socket", "");
    let mut client = socket.address.connect();
    let caller = format!("talker 127.0.0.1:{}: ", client.local_port());
    client.answer().expect_whole("ok\n");
    let lines = service.journal_at(6);
    for said in ["first line", "latin-1: caf\u{fffd}", "partial last line"] {
        let line = format!("{caller}{said}");
        assert!(lines.contains(&line), "no {line:?} in {lines:#?}");
    }
}

#[test]
fn the_level_of_a_line_tells_how_a_guest_ended() {
    let parts = [("fine", "version"), ("failing", "exit 3"), ("trapping", "trap-early")];
    let service = actors("levels", &parts);
    let sockets = parts.map(|(handler, _)| service.listen(&format!("{handler}.socket"), ""));
    for socket in &sockets {
        socket.address.knock();
    }
    for (level, handler, what) in [
        (6, "fine", "served"),
        (4, "failing", "exit code"),
        (3, "trapping", "ended"),
    ] {
        eventually(&format!("a line of level {level} told of {handler}"), || {
            let lines = service.journal_at(level);
            lines
                .iter()
                .any(|line| line.starts_with(handler) && line.contains(what))
        });
    }
}

#[test]
fn systemd_knows_when_the_host_is_ready_and_what_it_is_doing() {
    let service = actors("status", &[("first", "wait-eof"), ("second", "version")]);
    let first = service.listen("first.socket", "");
    let second = service.listen("second.socket", "");
    assert_eq!(service.property("Type"), "notify");
    let client = first.address.connect();
    second.address.knock();
    eventually("the service was active", || service.property("ActiveState") == "active");
    eventually("the status told of two handlers and their connections", || {
        service.property("StatusText") == "2 handlers, 1 in flight, 1 served"
    });
    let mut status = Command::new("systemctl");
    status.args(["status", "--no-pager", &service.unit]);
    let status = output(&mut status);
    assert!(status.contains("Status: \"2 handlers"), "{status}");
    client.finish();
    service.wait_until_asleep();
}

#[test]
fn the_watchdog_is_answered_and_ends_a_host_that_hangs() {
    let service = actors("watched", &[("guarded", "wait-eof"), ("other", "version")]);
    service.drop_in("watchdog", "[Service]\nWatchdogSec=1s\n");
    let guarded = service.listen("guarded.socket", "");
    let other = service.listen("other.socket", "");
    let _client = guarded.address.connect();
    let mut answers = std::collections::BTreeSet::new();
    eventually("the watchdog was answered five times", || {
        answers.insert(service.property("WatchdogTimestampMonotonic"));
        answers.len() > 5
    });
    assert_eq!(service.property("NRestarts"), "0");

    systemctl(&["kill", "--signal=STOP", &service.unit]);
    let mut waiting = other.address.connect();
    waiting.answer().expect_whole("version 1\n");
    assert_eq!(service.property("NRestarts"), "1");
}
