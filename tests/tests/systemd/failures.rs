//! What is broken is told and survived, and works again once it is mended.

use std::fs;
use std::path::Path;
use std::process::Command;

use harness::systemctl::{MODULES, Service, install, install_guest, property};
use harness::{End, eventually};

/// A socket for a handler whose module cannot be used, for `reason`.
#[track_caller]
fn survives(name: &str, reason: &str) {
    let service = Service::of_template(name, "--idle-timeout 1s");
    let socket = service.listen(&format!("wasm-sock@{name}.socket"), "");
    let process = {
        assert_eq!(socket.address.knock().end, End::Reset);
        service.process().expect("the host stays until it is idle")
    };
    for _ in 0..50 {
        socket.address.knock().expect_reset_after("");
    }
    assert_eq!(service.process(), Some(process), "the host did not stay");
    let errors = service.journal_at(3);
    assert_eq!(errors.len(), 1, "one line for one problem: {errors:#?}");
    assert!(errors[0].contains(name) && errors[0].contains(reason), "{errors:?}");
    service.wait_until_asleep();
    service.assert_never_failed();
    socket.assert_open();

    for module in ["wasm", "cwasm"] {
        let _ = fs::remove_file(format!("{MODULES}/{name}.{module}"));
    }
    install_guest(&format!("{name}.wasm"), "hello");
    let answer = socket.address.knock().text();
    assert!(answer.starts_with("Hello"), "after it was mended: {answer:?}");
}

#[test]
fn a_missing_module_leaves_its_socket_alive() {
    install();
    survives("missing", "put one of them there");
}

#[test]
fn a_garbage_wasm_leaves_its_socket_alive() {
    install();
    fs::write(Path::new(MODULES).join("garbage.wasm"), "garbage").unwrap();
    survives("garbage", "is not a WebAssembly module");
}

#[test]
fn a_garbage_cwasm_leaves_its_socket_alive() {
    install();
    fs::write(Path::new(MODULES).join("native.cwasm"), "garbage").unwrap();
    survives("native", "compile it again with `wasm-sock compile");
}

#[test]
fn a_truncated_cwasm_leaves_its_socket_alive() {
    install();
    install_guest("truncated.cwasm", "hello");
    let path = Path::new(MODULES).join("truncated.cwasm");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    survives("truncated", "compile it again with `wasm-sock compile");
}

#[test]
fn a_wasm_cut_in_the_middle_leaves_its_socket_alive() {
    install();
    install_guest("half.wasm", "hello");
    let path = Path::new(MODULES).join("half.wasm");
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    survives("half", "half.wasm");
}

#[test]
fn bad_configuration_is_told_with_its_place_and_works_again_once_mended() {
    install();
    install_guest("misconfigured.cwasm", "hello");
    fs::create_dir_all("/etc/wasm-sock/bad").unwrap();
    let config = "/etc/wasm-sock/bad/wasm-sock.toml";
    fs::write(config, "[host]\nidle-timeout = \"1s\"\n\n[defaults]\nmemroy = 1\n").unwrap();
    let service = Service::shared("misconfigured-host", &format!("--config {config}"));
    let socket = service.listen("misconfigured.socket", "");
    for _ in 0..50 {
        socket.address.knock().expect_reset_after("");
    }
    let errors = service.journal().join("\n");
    assert!(errors.contains(&format!("{config}:5:1")), "{errors}");
    assert!(errors.contains("did you mean \"memory\"?"), "{errors}");
    socket.assert_open();

    fs::write(config, "[host]\nidle-timeout = \"1s\"\n").unwrap();
    eventually("the mended configuration was read", || {
        socket.address.knock().text().starts_with("Hello")
    });
    assert_eq!(service.property("NRestarts"), "0");
    service.wait_until_asleep();
    socket.assert_open();
}

#[test]
fn a_host_that_cannot_start_is_tried_again_and_its_socket_survives() {
    install();
    install_guest("absent.cwasm", "hello");
    let service = Service::of_template("absent", "--no-such-option");
    let socket = service.listen("wasm-sock@absent.socket", "");
    let mut client = socket.address.connect();
    eventually("the host was tried three times", || {
        service.property("NRestarts").parse::<u32>().unwrap() >= 3
    });
    assert_ne!(property(&socket.unit, "ActiveState"), "failed");
    service.drop_in(
        "options",
        "[Service]\nExecStart=\nExecStart=/usr/bin/wasm-sock host --idle-timeout 1s\n",
    );
    let answer = client.answer().text();
    assert!(answer.starts_with("Hello"), "who had waited since then: {answer:?}");
    socket.assert_open();
}

#[test]
fn a_service_that_is_started_without_a_socket_says_so_and_rests() {
    install();
    let service = Service::of_template("socketless", "");
    let start = Command::new("systemctl")
        .args(["start", &service.unit])
        .output()
        .unwrap();
    assert!(!start.status.success());
    let said = service.journal().join("\n");
    assert!(said.contains("no sockets were passed"), "{said}");
    assert_eq!(service.property("ActiveState"), "failed");
}
