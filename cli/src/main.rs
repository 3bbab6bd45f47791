//! `wasm-sock-cli`: the commands for people. `wasm-sock VERB` executes it.
//!
//! The host has to be small, because systemd starts it for a connection; this program need not be. It runs the host for
//! what only the WebAssembly engine can tell ([`host_program`]).

/// As the one of the standard library, which ends the program when standard error is a pipe that was closed (`2>&1 |
/// head`).
macro_rules! eprintln {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        // There is nowhere to report it.
        let _ = writeln!(std::io::stderr(), $($text)*);
    }};
}

mod activate;
mod check;
mod columns;
mod commands;
mod completions;
mod egress;
mod exec;
mod export;
mod handlers;
mod host_program;
mod inspect;
mod install;
mod installation;
mod kv;
mod list;
mod log_line;
mod logs;
mod manual;
mod metrics;
mod module_kind;
mod new;
mod project;
mod push;
mod registry;
mod reload;
mod run;
mod scope;
mod serve;
mod settings;
mod source_date;
mod status;
mod uninstall;

use commands::Verb;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use thiserror::Error;
use wasm_sock_config::ConfigErrors;

/// Why a command failed; decides the exit code.
#[derive(Debug, Error)]
enum CommandError {
    /// Any other reason.
    #[error("{0}")]
    Failed(String),
    /// The configuration is invalid.
    #[error("{0}")]
    Configuration(ConfigErrors),
    /// The reason was printed already; this is the exit code.
    #[error("the host failed (see above)")]
    Reported(u8),
}

impl CommandError {
    /// 1: failed; 78 (`EX_CONFIG`, `sysexits.h`): bad configuration. Wrong usage is 2 ([`commands::report`]).
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::Failed(_) => ExitCode::FAILURE,
            Self::Configuration(_) => ExitCode::from(78),
            Self::Reported(code) => ExitCode::from(*code),
        }
    }
}

impl From<io::Error> for CommandError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

fn main() -> ExitCode {
    completions::answer();
    let result = match commands::parse(std::env::args_os()) {
        Ok(verb) => run(verb),
        Err(error) => return commands::report(&error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if !matches!(error, CommandError::Reported(_)) {
                eprintln!("wasm-sock: {error}");
            }
            error.exit_code()
        }
    }
}

fn run(verb: Verb) -> Result<(), CommandError> {
    match verb {
        Verb::Check { config } => {
            let config = config.map(absolute).transpose()?;
            check::run(config.as_deref())
        }
        Verb::Inspect { module } => inspect::run(&absolute(module)?),
        Verb::Run(arguments) => run::run(&arguments),
        Verb::New(arguments) => new::run(&arguments),
        Verb::Install(arguments) => install::run(&arguments),
        Verb::Serve(arguments) => serve::run(&arguments),
        Verb::Export(arguments) => export::run(&arguments),
        Verb::Push(arguments) => push::run(&arguments),
        Verb::Uninstall(arguments) => uninstall::run(&arguments),
        Verb::List(arguments) => list::run(&arguments),
        Verb::Status(arguments) => status::run(&arguments),
        Verb::Logs(arguments) => logs::run(&arguments),
        Verb::Exec(arguments) => exec::run(&arguments),
        Verb::Kv(arguments) => kv::run(&arguments),
        Verb::Metrics(arguments) => metrics::run(&arguments),
        Verb::Reload(arguments) => reload::run(&arguments),
        Verb::Activate(arguments) => activate::run(&arguments),
        Verb::Completions(arguments) => completions::run(&arguments),
        Verb::Man(arguments) => manual::man(&arguments),
        Verb::JsonSchemas(arguments) => manual::schema(&arguments),
        Verb::Host { .. } | Verb::Compile { .. } => host_program::hand_back(),
        Verb::Version => print(concat!("wasm-sock ", env!("CARGO_PKG_VERSION"), "\n")),
        Verb::Help { command } => commands::help(command),
    }
}

/// An absolute path, so that messages show it completely.
fn absolute(path: PathBuf) -> Result<PathBuf, CommandError> {
    std::path::absolute(&path).map_err(|error| CommandError::Failed(format!("{}: {error}", path.display())))
}

/// Writes to standard output. A pipe whose reader has closed it (EPIPE) is not an error.
fn print(text: &str) -> Result<(), CommandError> {
    match io::stdout().write_all(text.as_bytes()) {
        // Such as `| head`.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
