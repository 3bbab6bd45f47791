//! A guest that speaks WASI 0.3 and plays the part its first argument names, for the end-to-end
//! tests. Its stdin, stdout and stderr are those of 0.3, not the 0.2 ones that std uses.
//!
//! What a part cannot do at all (a part's name or number missing) is told on stderr, with exit
//! code 2.

mod parts;
mod stdio;

use std::fmt::Display;
use std::str::FromStr;

use wasip3::cli::environment::get_arguments;
use wasip3::cli::{exit::exit_with_code, stderr};
use wasip3::exports::cli::run::Guest;

use stdio::Output;

/// A part fails when the client is gone, or to show what a host does with a failure; 0.3 has no
/// room for a reason.
type Result<T = ()> = std::result::Result<T, ()>;

struct Actor;

wasip3::cli::command::export!(Actor);

impl Guest for Actor {
    async fn run() -> Result {
        let part = get_arguments().into_iter().nth(1);
        match part.as_deref() {
            // Well-behaved. Without any configuration there is no argument.
            None | Some("echo") => parts::echo().await,
            Some("args") => parts::args().await,
            Some("big") => parts::big(argument(2, "BYTES").await).await,
            Some("connect") => parts::connect(argument(2, "IPV4:PORT").await).await,
            Some("datagram") => parts::datagram(argument(2, "IPV4:PORT").await).await,
            Some("env") => parts::env().await,
            Some("hello") => parts::hello().await,
            Some("receive") => parts::receive().await,
            Some("resolve") => parts::resolve(argument(2, "NAME").await).await,
            Some("splice") => parts::splice().await,
            Some("stderr") => parts::stderr(argument(2, "TEXT").await).await,

            // Ends in a way that the host must cope with.
            Some("exit") => parts::exit(argument(2, "CODE").await).await,
            Some("fail") => parts::fail().await,
            Some("hasty") => parts::hasty().await,
            Some("never-read") => parts::never_read().await,
            Some("sleep") => parts::sleep(argument(2, "MILLISECONDS").await).await,
            Some("spin") => parts::spin(),
            Some("spin-yield") => parts::spin_yield().await,
            Some("trap") => parts::trap().await,

            Some(part) => usage(&format!("there is no part \"{part}\"")).await,
        }
    }
}

async fn argument<T: FromStr>(index: usize, name: &str) -> T {
    let value = get_arguments().into_iter().nth(index);
    match value.and_then(|value| value.parse().ok()) {
        Some(value) => value,
        None => usage(&format!("argument {index} must be {name}")).await,
    }
}

async fn usage(wrong: impl Display) -> ! {
    let mut stderr = Output::to(stderr::write_via_stream);
    // Nobody is left to tell when stderr fails, too.
    let _ = stderr.say(format_args!("actor3: {wrong}\n")).await;
    let _ = stderr.close().await;
    exit_with_code(2);
    unreachable!("exit does not return")
}
