//! Progress messages of a long compilation.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

/// Time before the first progress message, and between two of them.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs `work` on a module of `size` bytes, with progress messages on standard error when it takes longer than
/// [`INTERVAL`]: every second on a terminal, otherwise once. `input` is `-` when the host is the caller, which knows
/// the module's name.
pub fn shown<R>(input: &Path, size: usize, work: impl FnOnce() -> R) -> R {
    let megabytes = size as f64 / 1e6;
    let module = match input.as_os_str().to_str() {
        Some("-") => format!("compiling {megabytes:.1} MB"),
        _ => format!("compiling {} ({megabytes:.1} MB)", input.display()),
    };
    let (done, ends) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || show(&module, &ends));
        let result = work();
        drop(done);
        result
    })
}

fn show(module: &str, ends: &mpsc::Receiver<()>) {
    let started = Instant::now();
    let is_terminal = io::stderr().is_terminal();
    let mut shown = false;
    while let Err(RecvTimeoutError::Timeout) = ends.recv_timeout(INTERVAL) {
        let mut stderr = io::stderr();
        // Errors are ignored: the messages are not essential.
        let _ = match (is_terminal, shown) {
            (true, _) => write!(stderr, "\r{module}: {} s", started.elapsed().as_secs()),
            (false, false) => writeln!(stderr, "wasm-sock: {module} takes more than a second"),
            (false, true) => Ok(()),
        };
        shown = true;
    }
    if is_terminal && shown {
        // Erases the line (ECMA-48, EL).
        let _ = write!(io::stderr(), "\r\x1b[K");
    }
}
