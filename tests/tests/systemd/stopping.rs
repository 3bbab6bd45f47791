//! `systemctl stop` and `restart` while clients come and go.

use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::thread;

use harness::systemctl::{Service, Socket, install, install_guest, systemctl};
use harness::{Client, eventually};

/// A service with a handler that answers and hangs up, and one that waits for its client to.
fn service(name: &str, options: &str) -> (Service, Socket, Socket) {
    install();
    install_guest("actor.cwasm", "actor");
    let folder = format!("/etc/wasm-sock/{name}");
    fs::create_dir_all(&folder).unwrap();
    let config = format!("{folder}/wasm-sock.toml");
    let handler = |handler, args| format!("[handler.{name}-{handler}]\nmodule = \"actor.cwasm\"\nargs = {args}\n");
    let quick = handler("quick", r#"["version"]"#);
    let slow = handler("slow", r#"["version", "hold"]"#);
    fs::write(&config, quick + &slow).unwrap();
    let service = Service::shared(name, &format!("--config {config} {options}"));
    let quick = service.listen(&format!("{name}-quick.socket"), "");
    let slow = service.listen(&format!("{name}-slow.socket"), "");
    (service, quick, slow)
}

/// Says its last word only after the host was told to stop.
fn finish_late(mut client: Client, service: &Service, process: Option<u32>) {
    eventually("the host was told to stop", || {
        service.property("ActiveState") == "deactivating" || service.process() != process
    });
    client.finish();
    client.answer().expect_whole("");
}

/// Does `verb` five times while clients knock without a pause. All of them, before, during and
/// after, must be answered.
fn under_load(name: &str, options: &str, verb: &str) {
    let (service, quick, slow) = service(name, options);
    let (done, answered) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !done.load(Relaxed) {
                    quick.address.knock().expect_whole("version 1\n");
                    answered.fetch_add(1, Relaxed);
                }
            });
        }
        let times = scope.spawn(|| {
            for _ in 0..5 {
                let more = answered.load(Relaxed) + 100;
                eventually("another hundred were answered", || answered.load(Relaxed) >= more);
                let mut before = slow.address.connect();
                assert_eq!(before.line(), "version 1");
                let process = service.process();
                let service = &service;
                let late = scope.spawn(move || finish_late(before, service, process));
                systemctl(&[verb, &service.unit]);
                late.join().expect("who came before the stop is answered");
            }
        });
        let times = times.join();
        done.store(true, Relaxed);
        times.unwrap();
    });
    assert_eq!(service.property("NRestarts"), "0");
    assert_eq!(service.property("Result"), "success");
    quick.assert_open();
    slow.assert_open();
}

#[test]
fn stopping_the_service_under_load_fails_no_client() {
    under_load("stopped", "", "stop");
}

#[test]
fn restarting_the_service_under_load_fails_no_client() {
    under_load("restarted", "", "restart");
}

#[test]
fn stopping_a_parked_service_under_load_fails_no_client() {
    under_load("stopped-parked", "--when-idle park --idle-timeout 1ms", "stop");
}

#[test]
fn restarting_a_parked_service_under_load_fails_no_client() {
    under_load("restarted-parked", "--when-idle park --idle-timeout 1ms", "restart");
}

#[test]
fn a_hangup_for_all_processes_of_the_service_fails_no_client() {
    let (service, quick, slow) = service("rotated", "");
    let mut before = slow.address.connect();
    assert_eq!(before.line(), "version 1");
    let process = service.process();
    for signal in ["HUP", "USR1", "USR2"] {
        systemctl(&["kill", "-s", signal, &service.unit]);
        let noted = match signal {
            "HUP" => "reload: ".to_owned(),
            signal => format!("SIG{signal} is ignored"),
        };
        eventually("the signal is noted", || {
            service.journal().iter().any(|line| line.contains(&noted))
        });
        quick.address.knock().expect_whole("version 1\n");
    }
    before.finish();
    before.answer().expect_whole("");
    assert_eq!(service.process(), process, "it is another host");
}
