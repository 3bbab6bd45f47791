//! A guest that plays the part its first argument names: the well-behaved, the broken and the
//! hostile, for the end-to-end tests.
//!
//! Every part writes what it did to stdout, so that a test sees it from the client's side. What
//! a part cannot do at all (a part's name or number missing) is told on stderr, with exit code 2.

mod attack;
mod escape;
mod look;
mod misbehave;
mod raw;
mod talk;

use std::env::args;
use std::fmt::Display;
use std::io::{self, Write};
use std::process::exit;
use std::str::FromStr;

fn main() -> io::Result<()> {
    match argument::<String>(1, "PART").as_str() {
        // Well-behaved, each with its own way to use a connection.
        "big" => talk::big(argument(2, "BYTES")),
        "count" => talk::count(),
        "half" => talk::half(),
        "log" => talk::log(argument(2, "LINES")),
        "pingpong" => talk::pingpong(),
        "receive" => talk::receive(),
        #[cfg(target_env = "p2")]
        "receive-raw" => raw::receive(),
        "reply-early" => talk::reply_early(),
        "stderr" => talk::stderr(),
        "version" => talk::version(args().nth(2).as_deref() == Some("hold")),
        "wait-eof" => talk::wait_eof(),

        // Looks around in its sandbox, and tells.
        "clock" => look::clock(),
        "connect" => look::connect(&argument::<String>(2, "HOST:PORT")),
        "datagram" => look::datagram(&argument::<String>(2, "HOST:PORT")),
        "datagrams" => look::datagrams(&argument::<String>(2, "HOST:PORT,...")),
        "env" => look::env(),
        "exchange" => look::exchange(&argument::<String>(2, "HOST:PORT"), argument(3, "BYTES")),
        "files" => look::files(&argument::<String>(2, "DIRECTORY")),
        "random" => look::random(),
        "resolve" => look::resolve(&argument::<String>(2, "NAME")),

        // Everything a limit is for.
        "allocate" => misbehave::allocate(),
        "allocate-trap" => misbehave::allocate_trap(),
        "exit" => misbehave::exit_with(argument(2, "CODE")),
        "flood" => misbehave::flood(),
        "hold" => misbehave::hold(argument(2, "MEBIBYTES")),
        "log-flood" => misbehave::log_flood(),
        "log-flood-at-once" => misbehave::log_flood_at_once(),
        "never-read" => misbehave::never_read(argument(2, "MILLISECONDS")),
        "recurse" => misbehave::recurse(argument(2, "DEPTH")),
        "sleep" => misbehave::sleep(),
        "spin" => misbehave::spin(),
        "spin-calls" => misbehave::spin_calls(),
        "trap" => misbehave::trap(),
        "trap-early" => misbehave::trap_early(),

        // Attacks on the host and on its neighbours.
        "calls" => attack::calls(&argument::<String>(2, "WAY")),
        "escape" => escape::escape(&argument::<String>(2, "FOLDER")),
        "network" => escape::network(&argument::<String>(2, "HOST:PORT"), &argument::<String>(3, "NAME")),
        "open-files" => attack::open_files(argument(2, "COUNT")),
        "peek" => escape::peek(&argument::<String>(2, "FILE"), argument(3, "TIMES")),
        "recurse-for-ever" => say(attack::recurse(0)),
        "timers" => attack::timers(argument(2, "COUNT")),

        part => usage(&format!("there is no part \"{part}\"")),
    }
}

/// Writes to the client, at once.
fn say(text: impl Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    write!(stdout, "{text}")?;
    stdout.flush()
}

fn argument<T: FromStr>(index: usize, name: &str) -> T {
    args()
        .nth(index)
        .and_then(|value| value.parse().ok())
        .unwrap_or_else(|| usage(&format!("argument {index} must be {name}")))
}

fn usage(wrong: &str) -> ! {
    eprintln!("actor: {wrong}");
    exit(2)
}
