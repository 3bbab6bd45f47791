//! Mistakes go to the kernel's log, as those of systemd's own generators do: at boot there is no journal yet.

use std::fs::File;
use std::io::{IsTerminal, Write, stderr};
use std::os::unix::fs::OpenOptionsExt;
use std::process;

/// The priority `err` of the facility `daemon` (syslog(3)), as in `<27>text`.
const ERROR: u8 = 3 << 3 | 3;
/// The kernel takes ten lines in five seconds (`printk_devkmsg`), and drops the rest.
const MAX_LINES: usize = 8;
/// Bytes of a line; the kernel refuses more than 1,024 with the priority.
const MAX_BYTES: usize = 900;

pub struct Report {
    /// `None`: standard error, which is systemd's.
    kernel: Option<File>,
    mistakes: usize,
}

impl Report {
    /// Where `to_kernel` is wanted and possible, to the kernel's log. A user's manager passes standard error to the
    /// journal.
    pub fn open(to_kernel: bool) -> Report {
        let mut options = File::options();
        options.write(true).custom_flags(libc::O_NOCTTY | libc::O_NONBLOCK);
        Report {
            kernel: to_kernel.then(|| options.open("/dev/kmsg").ok()).flatten(),
            mistakes: 0,
        }
    }

    pub fn mistake(&mut self, message: &str) {
        self.mistakes += 1;
        if self.mistakes <= MAX_LINES {
            self.line(message);
        }
    }

    /// Tells how many mistakes were not shown.
    pub fn finish(mut self) {
        if self.mistakes > MAX_LINES {
            let more = self.mistakes - MAX_LINES;
            self.line(&format!(
                "{more} more mistakes in the configuration (`wasm-sock check` shows all)"
            ));
        }
    }

    fn line(&mut self, message: &str) {
        let text = one_line(message);
        let (program, id) = ("wasm-sock-generator", process::id());
        // What cannot be reported is not worth a failure.
        let _ = match &mut self.kernel {
            Some(kernel) => kernel.write_all(format!("<{ERROR}>{program}[{id}]: {text}\n").as_bytes()),
            // As sd-daemon(3), unless a person reads it.
            None if !stderr().is_terminal() => stderr().write_all(format!("<3>{program}: {text}\n").as_bytes()),
            None => stderr().write_all(format!("{program}: {text}\n").as_bytes()),
        };
    }
}

/// `text` without control characters, which names of files may have, and cut short.
fn one_line(text: &str) -> String {
    let mut line: String = text
        .chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect();
    if line.len() > MAX_BYTES {
        line.truncate(line.floor_char_boundary(MAX_BYTES));
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_that_the_kernel_takes() {
        assert_eq!(one_line("a\nb\u{1b}[31m"), "a\u{fffd}b\u{fffd}[31m");
        let long = one_line(&"ä".repeat(1000));
        assert!(long.len() <= MAX_BYTES + '…'.len_utf8() && long.ends_with('…'));
    }
}
