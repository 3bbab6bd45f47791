//! Log lines: on standard error, with the level in front that journald reads (`sd-daemon(3)`) when it listens there.

use std::fmt::Display;
use std::io::Write;
use std::sync::LazyLock;

/// Does journald read standard error (`$JOURNAL_STREAM`, `systemd.exec(5)`)?
static FOR_JOURNAL: LazyLock<bool> = LazyLock::new(|| std::env::var_os("JOURNAL_STREAM").is_some());

/// Something that keeps this program from working.
pub fn error(message: impl Display) {
    line("<3>", message);
}

/// Something that is probably a mistake.
pub fn warning(message: impl Display) {
    line("<4>", message);
}

fn line(level: &str, message: impl Display) {
    let level = if *FOR_JOURNAL { level } else { "" };
    // There is no other place to report that it fails.
    let _ = writeln!(std::io::stderr(), "{level}wasm-sock-egress: {message}");
}
