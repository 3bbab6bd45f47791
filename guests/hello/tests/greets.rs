//! The program as it is, run natively.

use std::process::Command;

fn said(arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let mut program = Command::new(env!("CARGO_BIN_EXE_hello"));
    let program = program.args(arguments).envs(variables.iter().copied());
    String::from_utf8(program.output().unwrap().stdout).unwrap()
}

#[test]
fn a_client_is_greeted_by_its_address() {
    let client = [("REMOTE_ADDR", "192.0.2.7"), ("REMOTE_PORT", "5000")];
    assert!(said(&[], &client).starts_with("Hello, 192.0.2.7 port 5000!"));
}

#[test]
fn the_greeting_is_a_setting() {
    let text = said(&["--shout"], &[("GREETING", "Good morning")]);
    assert!(text.starts_with("GOOD MORNING, STRANGER!"), "{text}");
}
