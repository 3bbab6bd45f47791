//! Greets whoever knocks, then hangs up. It never reads, so nobody has to speak first.
//!
//! `GREETING` in the environment replaces the word, the argument `--shout` says it louder.

use std::env::{args, var};
use std::io::{Write, stdout};

fn main() {
    let greeting = var_or("GREETING", "Hello");
    let name = var_or("WASM_SOCK_NAME", "hello");
    let proto = var_or("PROTO", "stdin");
    let caller = caller();
    let mut text = format!(
        "{greeting}, {caller}! Your knock on {name} over {proto} awakened me, just for you.\n"
    );
    if args().any(|arg| arg == "--shout") {
        text.make_ascii_uppercase();
    }
    // One text, one write, as each write is a call out of the sandbox. It fails only if the
    // caller has hung up already, and then there is nobody to greet.
    let _ = stdout().write_all(text.as_bytes());
}

/// Who knocked, as far as the socket tells: TCP knows an address, a Unix socket a process.
fn caller() -> String {
    if let (Ok(address), Ok(port)) = (var("REMOTE_ADDR"), var("REMOTE_PORT")) {
        format!("{address} port {port}")
    } else if let (Ok(uid), Ok(pid)) = (var("UNIXREMOTEUID"), var("UNIXREMOTEPID")) {
        format!("user {uid} in process {pid}")
    } else {
        "stranger".into()
    }
}

fn var_or(name: &str, default: &str) -> String {
    var(name).unwrap_or_else(|_| default.into())
}
