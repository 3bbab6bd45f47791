//! `wasm-sock exec`: runs a handler once, without a client, exactly as it is served.
//!
//! The host gets one end of a pair of sockets, as if systemd had accepted a connection (`Accept=yes`).

mod http;
pub mod stream;
mod subject;

use crate::CommandError;
use crate::activate::Activation;
use crate::log_line::LogLine;
use std::env;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread;
use subject::Subject;

/// The arguments of `wasm-sock exec`.
#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
pub struct Exec {
    /// The handler; or a module: a path with a slash, or a .wasm or .cwasm
    #[arg(value_name = "NAME|FILE", add = crate::completions::handlers())]
    name: String,
    /// What it reads [default: standard input, unless that is a terminal]; - is that
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Where its output goes [default: standard output]
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// HTTP: what is requested [default: /]
    #[arg(long, value_name = "PATH")]
    path: Option<String>,
    /// HTTP: the method [default: GET; with --input POST]
    #[arg(long, value_name = "METHOD")]
    method: Option<String>,
    /// Take the handler of your own services, not of the system's
    #[arg(long, conflicts_with = "config")]
    user: bool,
    /// Read this configuration
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs a handler once.
///
/// # Errors
/// When it cannot be run; the exit code of the guest, if that is not 0; 1 for an HTTP status of 400 or more.
pub fn run(exec: &Exec) -> Result<(), CommandError> {
    let subject = Subject::find(exec)?;
    let is_http = match exec.path.is_some() || exec.method.is_some() {
        true => true,
        false => subject.is_http()?,
    };
    let output = output(exec.output.as_deref())?;
    let (ours, theirs) = UnixStream::pair()?;
    match is_http {
        true => {
            let body = exec.input.as_deref().map(open).transpose()?;
            let host = Running::start(&subject, theirs)?;
            let answer = http::request(ours, exec, body, output);
            host.end(answer)
        }
        false => {
            let input = match exec.input.as_deref() {
                Some(path) => Some(open(path)?),
                None if io::stdin().is_terminal() => None,
                None => Some(open(Path::new("-"))?),
            };
            let host = Running::start(&subject, theirs)?;
            let result = stream::exchange(ours, input, output);
            host.end(result.map(|()| 0))
        }
    }
}

/// A file; `-` is standard input.
fn open(path: &Path) -> Result<File, CommandError> {
    if path.as_os_str() == "-" {
        return Ok(io::stdin().as_fd().try_clone_to_owned()?.into());
    }
    File::open(path).map_err(|error| CommandError::Failed(format!("cannot read {}: {error}", path.display())))
}

fn output(path: Option<&Path>) -> Result<File, CommandError> {
    match path {
        // Not `Stdout`, which has a buffer that ends with a line.
        None => Ok(io::stdout().as_fd().try_clone_to_owned()?.into()),
        Some(path) => File::create(path)
            .map_err(|error| CommandError::Failed(format!("cannot write {}: {error}", path.display()))),
    }
}

/// A host with one connection.
struct Running {
    child: Child,
    log: Option<thread::JoinHandle<()>>,
}

impl Running {
    fn start(subject: &Subject, connection: UnixStream) -> Result<Self, CommandError> {
        let under_journal = env::var_os("JOURNAL_STREAM").is_some() && !io::stderr().is_terminal();
        let mut arguments = subject.host_arguments();
        arguments.push("--exit-with-guest".to_owned());
        if !under_journal {
            arguments.extend(["--log-format", "json"].map(str::to_owned));
        }
        let arguments = arguments.iter().map(String::as_str);
        let mut host = Activation::new(&subject.handler, vec![connection.into()], arguments)?;
        host.command().envs(subject.environment());
        // The journal gets the host's records with all their fields; a person gets what the guest wrote.
        if !under_journal {
            host.command().stderr(Stdio::piped());
        }
        let mut child = host.start()?;
        let stderr = child.stderr.take();
        let log = stderr.map(|stderr| thread::spawn(move || show(BufReader::new(stderr))));
        Ok(Self { child, log })
    }

    /// Waits for the host. `result` is the exit code that the exchange asks for if the guest's is 0.
    fn end(mut self, result: Result<u8, CommandError>) -> Result<(), CommandError> {
        let status = self.child.wait()?;
        if let Some(log) = self.log {
            // It ends with the host. A panic in it was reported.
            let _ = log.join();
        }
        match (exit_code(status), result?) {
            (0, 0) => Ok(()),
            (0, code) | (code, _) => Err(CommandError::Reported(code)),
        }
    }
}

/// As a shell has it: 128 and the number of the signal.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

/// Prints what the guest writes to its standard error, and what goes wrong.
fn show(log: impl BufRead) {
    for line in log.lines().map_while(Result::ok) {
        let line = LogLine::parse(&line);
        if line.is_guests() {
            eprintln!("{}", line.message);
        } else if line.priority < 6 {
            eprintln!("wasm-sock: {}", line.message);
        }
    }
}
