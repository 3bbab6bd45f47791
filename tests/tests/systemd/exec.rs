//! `wasm-sock exec` in its service: as the service's user, with the exit code and the journal that a run has.

use std::fs;
use std::process::Command;

use harness::systemctl::{MODULES, install, install_guest_of, output, property};
use harness::{Kind, eventually};

fn configure(handler: &str, module: &str, lines: &str) {
    fs::create_dir_all("/etc/wasm-sock/handlers.d").unwrap();
    let text = format!("[handler.{handler}]\nmodule = \"{MODULES}/{module}\"\n{lines}\n");
    fs::write(format!("/etc/wasm-sock/handlers.d/{handler}.toml"), text).unwrap();
}

/// The outcome of one run.
fn run(handler: &str) -> String {
    let unit = format!("wasm-sock-exec@{handler}.service");
    // It fails when the run does: what it was, the properties tell.
    let _ = Command::new("systemctl").args(["start", &unit]).output();
    format!("{} {}", property(&unit, "Result"), property(&unit, "ExecMainStatus"))
}

fn journal(handler: &str) -> String {
    let unit = format!("wasm-sock-exec@{handler}.service");
    output(Command::new("journalctl").args(["--output=cat", "--unit", &unit]))
}

#[test]
fn a_run_as_the_services_user_keeps_the_exit_code_and_is_in_the_journal() {
    install();
    install_guest_of(Kind::P1, "eactor.cwasm", "actor");
    for (handler, part, result) in [("eseven", "exit 7", "exit-code 7"), ("efine", "stderr", "success 0")] {
        let args: Vec<&str> = part.split(' ').collect();
        configure(handler, "eactor.cwasm", &format!("args = {args:?}"));
        assert_eq!(run(handler), result, "{}", journal(handler));
    }
    eventually("what the guests wrote is in the journal", || {
        journal("efine").contains("first line") && journal("eseven").contains("failed with exit code 7")
    });
    let fields = ["--output=json", "WASM_SOCK_HANDLER=eseven", "WASM_SOCK_OUTCOME=exit"];
    let records = output(Command::new("journalctl").args(fields));
    assert!(records.contains("wasm-sock-exec@eseven.service"), "{records}");
}

#[test]
fn a_module_that_is_not_compiled_and_answers_http_gets_a_request() {
    install();
    install_guest_of(Kind::P2, "eweb.wasm", "http-hello");
    configure("eweb", "eweb.wasm", "");
    assert_eq!(run("eweb"), "success 0", "{}", journal("eweb"));
    eventually("the answer is in the journal", || {
        journal("eweb").contains("Hello, stranger!")
    });
}
