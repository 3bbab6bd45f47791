//! Greets each client by its address, then closes the connection. It never reads, so the client
//! need not send anything.
//!
//! `GREETING` in the environment replaces the word, the argument `--shout` prints capitals.

use std::env::{args, var};
use std::io::{Write, stdout};

fn main() {
    let greeting = var_or("GREETING", "Hello");
    let name = var_or("WASM_SOCK_NAME", "hello");
    let proto = var_or("PROTO", "stdin");
    let client = client();
    let mut text = format!(
        "{greeting}, {client}! Your knock on {name} over {proto} awakened me, just for you.\n"
    );
    if args().any(|arg| arg == "--shout") {
        text.make_ascii_uppercase();
    }
    // One text, one write, as each write is a call out of the sandbox. It fails only if the
    // client has left.
    let _ = stdout().write_all(text.as_bytes());
}

/// Who is connected: TCP and UDP have an address, a Unix socket has a process.
fn client() -> String {
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
