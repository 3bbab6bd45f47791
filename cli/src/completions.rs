//! `wasm-sock completions`: makes a shell complete commands, options, and the names of handlers. All comes from the one
//! definition of the command line.
//!
//! The script of a shell runs this program with `$WASM_SOCK_COMPLETE` set, and so knows the handlers of the moment.

use crate::commands::CommandLine;
use crate::{CommandError, print};
use clap::CommandFactory;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use clap_complete::env::{Bash, CompleteEnv, EnvCompleter, Fish, Zsh};
use rustix::process::geteuid;
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

const NAME: &str = "wasm-sock";

/// The variable in which a shell asks for completions.
const VARIABLE: &str = "WASM_SOCK_COMPLETE";

/// zsh runs the script as the function that completes, when it is a file `_wasm-sock` in `$fpath` and is needed for the
/// first time.
const FIRST_TIME: &[u8] = b"
if [[ ${funcstack[1]} == _wasm-sock ]]; then
    _clap_dynamic_completer_wasm_sock
fi
";

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
    if arguments.shell == Shell::Zsh {
        script.extend_from_slice(FIRST_TIME);
    }
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
