//! `wasm-sock-egress`: the way out of wasm-sock's guests.
//!
//! Hosts ask it for connections (`wasm-sock-egress-protocol`). It checks what the handler may reach (`allow-outbound`),
//! resolves names, connects, and passes the connected socket; for TLS it passes plain bytes. So a host makes no sockets
//! and needs no network, keys, or resolver.
//!
//! systemd starts it by its socket when the first host connects; it exits when no host has been connected for a while,
//! and after SIGTERM when those that are connected have ended.

mod connect;
mod listener;
mod log;
mod options;
mod peer;
mod policy;
mod relay;
mod resolve;
mod sandbox;
mod serve;
mod session;
mod termination;
mod tls;

use options::{Command, USAGE};
use std::process::ExitCode;

/// The exit code for wrong usage.
const WRONG_USAGE: u8 = 2;

fn main() -> ExitCode {
    let command = match options::from_arguments() {
        Ok(command) => command,
        Err(error) => {
            eprintln!("wasm-sock-egress: {error}\n{USAGE}");
            return ExitCode::from(WRONG_USAGE);
        }
    };
    let result = match command {
        Command::Help => print(USAGE),
        Command::Version => print(env!("CARGO_PKG_VERSION")),
        Command::PrintSandbox(options) => print(&sandbox::Needs::of(&options).to_string()),
        Command::Serve(options) => serve::serve(options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log::error(format_args!("{error}"));
            ExitCode::FAILURE
        }
    }
}

fn print(text: &str) -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout(), "{text}")
}
