//! `wasm-sock logs NAME`: prints the log of a handler from the journal.

mod entry;

use crate::columns::Screen;
use crate::scope::Scope;
use crate::{CommandError, print};
use entry::Entry;
use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use wasm_sock_stats::Outcome;

/// The arguments of `wasm-sock logs`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Logs {
    /// The handler
    #[arg(value_name = "NAME", add = crate::completions::handlers())]
    name: String,
    /// Go on, and print what is logged from now on
    #[arg(short, long)]
    follow: bool,
    /// From then on: "10 min ago", today, "2026-11-28 20:00"
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until then
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The last so many [default: 100, with a time all]
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<usize>,
    /// Of this client: its address, with or without port
    #[arg(long, value_name = "ADDRESS")]
    peer: Option<String>,
    /// Only what failed, and how
    #[arg(long)]
    failed: bool,
    /// Print a line of JSON for each
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    scope: Scope,
}

/// How many lines are printed if the arguments do not say.
const DEFAULT_LINES: usize = 100;

/// What to look for in the journal.
#[derive(Debug, Clone)]
pub struct Query {
    handler: String,
    since: Option<String>,
    until: Option<String>,
    lines: usize,
    peer: Option<String>,
    failed: bool,
    scope: Scope,
}

impl Query {
    /// The last lines of a handler.
    pub fn last(handler: &str, lines: usize, scope: Scope) -> Self {
        Self {
            handler: handler.to_owned(),
            since: None,
            until: None,
            lines,
            peer: None,
            failed: false,
            scope,
        }
    }

    /// `journalctl` with what selects the records. The rest is for [`Self::wants`].
    fn command(&self) -> Command {
        let mut command = Command::new("journalctl");
        command.args(["--quiet", "--no-pager", "--all", "--output=json"]);
        for (option, time) in [("--since", &self.since), ("--until", &self.until)] {
            if let Some(time) = time {
                command.arg(format!("{option}={time}"));
            }
        }
        command.arg(format!("WASM_SOCK_HANDLER={}", self.handler));
        if self.failed {
            let is_failure = |outcome: &Outcome| !matches!(outcome, Outcome::Ok | Outcome::ClientLeft);
            let failures = Outcome::ALL.into_iter().filter(is_failure);
            // Matches of the same field are alternatives.
            command.args(failures.map(|outcome| format!("WASM_SOCK_OUTCOME={}", outcome.as_str())));
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    /// Is it a record of this manager's service, and of the client?
    fn wants(&self, entry: &Entry) -> bool {
        entry.is_of_user() == self.scope.is_user() && self.peer.as_ref().is_none_or(|peer| entry.is_from(peer))
    }
}

/// Prints the log of a handler.
///
/// # Errors
/// When the journal cannot be read, and with the reason of `journalctl`.
pub fn run(arguments: &Logs) -> Result<(), CommandError> {
    let is_bounded = arguments.since.is_some() || arguments.until.is_some();
    let default = if is_bounded { usize::MAX } else { DEFAULT_LINES };
    let query = Query {
        since: arguments.since.clone(),
        until: arguments.until.clone(),
        lines: arguments.lines.unwrap_or(default),
        peer: arguments.peer.clone(),
        failed: arguments.failed,
        ..Query::last(&arguments.name, 0, arguments.scope)
    };
    let screen = Screen::of_stdout();
    let show = |entry: &Entry| match arguments.json {
        true => print(&format!("{}\n", entry.json())),
        false => print(&format!("{}\n", entry.text(screen))),
    };
    let entries = read(&query)?;
    entries.iter().try_for_each(show)?;
    if arguments.follow {
        return follow(&query, entries.back().and_then(Entry::cursor), show);
    }
    if entries.is_empty() {
        check_readable()?;
        eprintln!("wasm-sock: the journal has nothing of this handler (see `wasm-sock list`)");
    }
    Ok(())
}

/// The last records that a query selects, the oldest first.
///
/// # Errors
/// As [`run`].
pub fn read(query: &Query) -> Result<VecDeque<Entry>, CommandError> {
    check_access(query.scope)?;
    let mut entries = VecDeque::new();
    if query.lines == 0 {
        return Ok(entries);
    }
    // From the newest on, until there are enough: journalctl counts before the rest is selected.
    let mut journal = Journal::start(query.command().arg("--reverse"))?;
    while entries.len() < query.lines {
        match journal.next()? {
            Some(entry) if query.wants(&entry) => entries.push_front(entry),
            Some(_) => {}
            None => {
                journal.finish()?;
                break;
            }
        }
    }
    Ok(entries)
}

/// Prints what is logged after the record at `cursor`; without one, from now on.
fn follow(
    query: &Query,
    cursor: Option<&str>,
    show: impl Fn(&Entry) -> Result<(), CommandError>,
) -> Result<(), CommandError> {
    let query = Query {
        since: None,
        ..query.clone()
    };
    let mut command = query.command();
    match cursor {
        Some(cursor) => command
            .args(["--follow", "--lines=all"])
            .arg(format!("--after-cursor={cursor}")),
        None => command.args(["--follow", "--lines=0"]),
    };
    let mut journal = Journal::start(&mut command)?;
    while let Some(entry) = journal.next()? {
        if query.wants(&entry) {
            show(&entry)?;
        }
    }
    journal.finish()
}

/// A `journalctl` that runs, and is ended when this is dropped.
struct Journal {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Journal {
    fn start(command: &mut Command) -> Result<Self, CommandError> {
        let failed = |error| CommandError::Failed(format!("cannot run journalctl: {error}"));
        let mut child = command.spawn().map_err(failed)?;
        let output = child.stdout.take().map(BufReader::new);
        let output = output.ok_or_else(|| CommandError::Failed("journalctl has no output".to_owned()))?;
        Ok(Self { child, output })
    }

    /// The next record; `None`: there are no more.
    fn next(&mut self) -> Result<Option<Entry>, CommandError> {
        loop {
            let mut line = Vec::new();
            if self.output.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            if let Some(entry) = Entry::parse(&line) {
                return Ok(Some(entry));
            }
        }
    }

    /// Waits for its end. It has printed the reason if it has failed.
    fn finish(mut self) -> Result<(), CommandError> {
        match self.child.wait()?.code() {
            // Without any record it ends with 1.
            Some(0 | 1) => Ok(()),
            _ => Err(CommandError::Failed("journalctl failed (see above)".to_owned())),
        }
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // Errors: it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The groups whose members may read the system's journal (`systemd-journald.service(8)`).
const GROUPS: &str = "systemd-journal or adm";

/// Checks that journalctl can read any journal: it says otherwise, and finds nothing.
fn check_readable() -> Result<(), CommandError> {
    let mut probe = Command::new("journalctl");
    let probe = probe.args(["--no-pager", "--lines=0"]).stdin(Stdio::null()).output();
    let is_refused = probe.is_ok_and(|probe| String::from_utf8_lossy(&probe.stderr).contains("permission"));
    match is_refused {
        false => Ok(()),
        true => Err(CommandError::Failed(format!(
            "the journal cannot be read: you are in neither of the groups {GROUPS}, and have no journal of your own, \
             which needs a persistent one (Storage= of journald.conf(5))"
        ))),
    }
}

/// Checks that the journal of the system can be read. (Everyone can read the records of their own services.)
fn check_access(scope: Scope) -> Result<(), CommandError> {
    if scope.is_user() || rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let machines = ["/var/log/journal", "/run/log/journal"].into_iter();
    let machines = machines
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten();
    let files = machines.map(|machine| machine.path().join("system.journal"));
    match files.into_iter().any(|file| fs::File::open(file).is_ok()) {
        true => Ok(()),
        false => Err(CommandError::Failed(format!(
            "the journal of the system cannot be read: you are in neither of the groups {GROUPS} \
             (sudo usermod -aG systemd-journal $USER, and log in again)"
        ))),
    }
}
