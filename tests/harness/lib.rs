//! What the end-to-end tests stand on: an activator that does what systemd does, and clients
//! that never wait for ever.
//!
//! A test builds its own [`World`] (folders, configuration, sockets), starts a [`Host`] in it as
//! systemd would, and connects with a [`Client`]. When a test fails, what its hosts said is printed.

mod artifacts;
mod authority;
mod client;
mod egress;
pub mod frames;
pub mod handlers;
mod host;
mod http;
mod http2;
mod inetd;
mod kinds;
mod launch;
mod log;
mod messages;
mod registry;
mod siege;
mod supervisor;
pub mod systemctl;
mod world;

pub use artifacts::{
    ALL, BOTH, Kind, compiler, copy_program, egress, generator, make_foreign, second_version, unpacked, wasm,
    wasm_sock,
};
pub use authority::Authority;
pub use client::{Address, Answer, Client, End};
pub use egress::Egress;
pub use host::Host;
pub use http::{HTTP, Http, Response, curl, web_host};
pub use http2::{Exchange, Http2};
pub use inetd::Inetd;
pub use launch::{Launch, SELF};
pub use log::Log;
pub use messages::{Correspondent, Destination};
pub use registry::Registry;
pub use siege::Siege;
pub use supervisor::Supervisor;
pub use world::{World, run, run_in};

use std::time::{Duration, Instant};

/// How long a test waits for what must happen before it fails: on a loaded machine, a guest's 8 s of CPU time take 30.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks `condition` until it holds; fails with `what` when it does not within [`PATIENCE`].
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        let waited = start.elapsed();
        assert!(waited < PATIENCE, "it never happened that {what}");
        // What takes long is asked seldom: `condition` may start a program, and ask systemd, for which others wait.
        std::thread::sleep((waited / 10).clamp(Duration::from_millis(2), Duration::from_millis(50)));
    }
}

/// Says that a test, or a part of it, is left out because this machine lacks something. With `CI=true` it
/// fails instead: CI's machine has all that the tests need, and a test that is skipped counts as passed.
#[track_caller]
pub fn skip(lacking: &str) {
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    assert!(!is_ci, "with CI=true no test may be skipped: {lacking}");
    eprintln!("skipped: {lacking}");
}

/// The one in the middle.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
