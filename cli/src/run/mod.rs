//! `wasm-sock run`: serves a module without systemd, and shows what it does.
//!
//! It makes the sockets itself and starts a host with them, as systemd does, under a configuration that it writes for
//! it. The host reads the compiled module anew when that was replaced; so a build only has to replace it.

mod amounts;
mod egress;
mod screen;
mod session;
mod settings;
pub mod sockets;
mod source;
mod stdin;
mod summary;
mod symbols;
mod watch;

use crate::CommandError;
use crate::settings::{Directory, Secret, Setting, Variable};
use std::path::PathBuf;
use tempfile::TempDir;

/// What it serves is said in a line, without a table of its own: all options fit a screen.
const HELP: &str = "\
{about-with-newline}
{usage-heading} {usage}

Serves a module (FILE) or a project (FOLDER) [default: .]

Options:
{options}{after-help}";

/// The arguments of `wasm-sock run`.
#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
#[command(help_template = HELP)]
pub struct Run {
    /// A module, or a project's folder [default: .]
    #[arg(value_name = "FILE|FOLDER")]
    source: Option<PathBuf>,
    /// 7000, udp:7, stdin [default: 127.0.0.1:7000]
    #[arg(long, value_name = "ADDRESS")]
    listen: Vec<String>,
    /// Build and swap it when a source changes
    #[arg(long)]
    watch: bool,
    /// What builds it [default: by the project]
    #[arg(long, value_name = "COMMAND")]
    build: Option<String>,
    /// Build for release, as `install` does
    #[arg(long)]
    release: bool,
    /// The handler's name [default: the file's]
    #[arg(long)]
    name: Option<String>,
    /// An argument of the guest
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    arg: Vec<String>,
    /// A variable of its environment
    #[arg(long, value_name = "NAME=VALUE")]
    env: Vec<Variable>,
    /// A value that it may ask for
    #[arg(long, value_name = "KEY=VALUE")]
    config_value: Vec<Variable>,
    /// A secret that it may ask for
    #[arg(long, value_name = "NAME=FILE")]
    secret: Vec<Secret>,
    /// A folder that it may open
    #[arg(long, value_name = "HOST:GUEST[:rw]")]
    dir: Vec<Directory>,
    /// Where it may connect to
    #[arg(long, value_name = "DEST")]
    allow_outbound: Vec<String>,
    /// Any other setting: memory=1GiB
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<Setting>,
}

/// The address that stands for the terminal.
const STDIN: &str = "stdin";

/// A folder for the configuration, the compiled module, and what the guest stores: all goes with it.
fn temporary_folder() -> Result<TempDir, CommandError> {
    let folder = tempfile::Builder::new().prefix("wasm-sock-run-").tempdir();
    folder.map_err(|error| {
        CommandError::Failed(format!(
            "cannot make a folder for this run: {error} (set TMPDIR to one that can be written; in a container: --tmpfs /tmp)"
        ))
    })
}

/// Serves a module until a signal ends it.
///
/// # Errors
/// When it cannot be built or served, or an address is in use.
pub fn run(run: &Run) -> Result<(), CommandError> {
    match run.listen.iter().any(|address| address == STDIN) {
        true if run.listen.len() > 1 || run.watch => Err(CommandError::Failed(
            "--listen stdin is one connection: it goes with no other address, and not with --watch".to_owned(),
        )),
        true => stdin::run(run),
        false => session::run(run),
    }
}
