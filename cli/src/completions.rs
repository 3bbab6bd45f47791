//! `wasm-sock completions`: makes a shell complete commands, options, and the names of handlers. `wasm-sock man`: the
//! man pages. Both come from the one definition of the command line.
//!
//! The script of a shell runs this program with `$COMPLETE` set, and so knows the handlers of the moment.

use crate::commands::CommandLine;
use crate::{CommandError, print};
use clap::CommandFactory;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh};
use rustix::process::geteuid;
use std::fs;
use std::path::PathBuf;
use wasm_sock_config::{Config, Environment};

/// The arguments of `wasm-sock completions`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The arguments of `wasm-sock man`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Man {
    /// Where the pages go
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

const NAME: &str = "wasm-sock";

/// The variable in which a shell asks for completions.
const VARIABLE: &str = "COMPLETE";

/// Prints the script of a shell.
///
/// # Errors
/// When it cannot be written.
pub fn run(arguments: &Completions) -> Result<(), CommandError> {
    let shell: &dyn EnvCompleter = match arguments.shell {
        Shell::Bash => &Bash,
        Shell::Zsh => &Zsh,
        Shell::Fish => &Fish,
    };
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, NAME, NAME, NAME, &mut script)?;
    print(&String::from_utf8_lossy(&script))
}

/// Answers a shell that asks for completions, and exits; returns if none does.
pub fn answer() {
    CompleteEnv::with_factory(CommandLine::command).var(VARIABLE).complete();
}

/// The names of the handlers, for an argument that is one.
pub fn handlers() -> ArgValueCandidates {
    ArgValueCandidates::new(|| {
        let config = Config::load(None, &Environment::current(geteuid().is_root()));
        // An invalid configuration has no names to offer; other commands say why.
        let names = config.map(|config| config.handler_names().0).unwrap_or_default();
        names.into_iter().map(CompletionCandidate::new).collect()
    })
}

/// Writes a man page for each command.
///
/// # Errors
/// When they cannot be written.
pub fn man(arguments: &Man) -> Result<(), CommandError> {
    fs::create_dir_all(&arguments.folder)?;
    Ok(clap_mangen::generate_to(CommandLine::command(), &arguments.folder)?)
}
