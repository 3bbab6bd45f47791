//! Log lines, on standard error.

use crate::environment;
use crate::host::Ending;
use crate::text::Text;
use core::ffi::CStr;

/// Levels of syslog(3), as the journal takes them at the front of a line (`sd-daemon(3)`).
const ERROR: &[u8] = b"<3>";
const WARNING: &[u8] = b"<4>";

pub struct Log {
    /// Is standard error the journal?
    is_journal: bool,
    /// The last ending that was logged, so that one that lasts is logged once.
    last: Option<Ending>,
}

impl Log {
    pub fn new() -> Self {
        Self {
            is_journal: environment::value("JOURNAL_STREAM").is_some(),
            last: None,
        }
    }

    /// The keeper cannot do this.
    pub fn cannot(&self, what: &str) {
        self.write(WARNING, Text::new().push(b"cannot ").push(what.as_bytes()));
    }

    /// It was not started as it has to be.
    pub fn usage(&self) {
        self.write(
            ERROR,
            Text::new().push(b"`wasm-sock host --when-idle park` starts this; do not start it yourself"),
        );
    }

    /// How the host at this path has ended, if that is a failure, and was none before.
    pub fn ending(&mut self, ending: Ending, path: &CStr) {
        let last = self.last.replace(ending);
        if !ending.is_failure() || last == Some(ending) {
            return;
        }
        let mut line = Text::new();
        line.push(b"the host ");
        ending.describe(&mut line);
        match ending {
            Ending::Exit(_) => line.push(b" (the reason is above)"),
            Ending::Killed(libc::SIGKILL) => line.push(b" (did it run out of memory?)"),
            Ending::Killed(_) => line.push(b""),
            Ending::NotStarted(_) => line
                .push(b" (")
                .push(path.to_bytes())
                .push(b"); clients wait until it can be"),
        };
        self.write(ERROR, &line);
    }

    fn write(&self, level: &[u8], text: &Text) {
        let mut line = Text::new();
        if self.is_journal {
            line.push(level);
        }
        let line = line
            .push(b"wasm-sock-keeper: ")
            .push(text.as_bytes())
            .push(b"\n")
            .as_bytes();
        // SAFETY: the line is as long as it says. There is no other place to report that it cannot be written.
        unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
    }
}
