//! The command line of the host: one file for each verb. All other verbs are in `wasm-sock-cli`.

mod arguments;
mod compile;
mod describe;
mod failure;
mod hand_over;
mod host;
mod output;

use crate::journal;
use crate::trace;
use arguments::Action;
use output::print;
use std::env;
use std::io::{self, Write};
use std::process::ExitCode;

/// Runs the command that the arguments name. Returns its exit code.
pub fn main() -> ExitCode {
    trace::start();
    let done = |()| ExitCode::SUCCESS;
    let result = arguments::parse(env::args_os().skip(1)).and_then(|verb| match verb {
        Action::Host(options) => host::run(options),
        Action::Compile(arguments) => compile::run(&arguments).map(done),
        Action::Describe(subject) => describe::run(subject).map(done),
        Action::HandOver(arguments) => hand_over::run(&arguments).map(done),
        Action::Version => print(concat!("wasm-sock ", env!("CARGO_PKG_VERSION"), "\n")).map(done),
    });
    journal::finish();
    match result {
        Ok(code) => code,
        Err(failure) => {
            // Standard error may be a pipe that was closed (`2>&1 | head`).
            let _ = writeln!(io::stderr(), "wasm-sock: {failure}");
            failure.exit_code()
        }
    }
}
