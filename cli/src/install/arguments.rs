//! The command line of `wasm-sock install`.

use super::settings::{Directory, Setting, Variable};
use clap::ValueEnum;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Given again, it updates: the module is replaced, and of the settings those that
are given. Connections that are open finish on the former guest.

Examples:
  wasm-sock install hello.wasm --listen 7000
  wasm-sock install api.wasm --listen 127.0.0.1:8080 --dir /srv/api:/data:rw";

/// The arguments of `wasm-sock install`.
#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Install {
    /// The module, - for standard input, or the folder of a project, which is built
    #[arg(value_name = "FILE|-|FOLDER")]
    pub source: PathBuf,
    /// The handler's name [default: the file's]
    #[arg(long)]
    pub name: Option<String>,
    /// Where it listens: 7000, [::1]:7000, udp:53, unix:/run/x …; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// Which process serves it: its own, one for all handlers, one a connection
    #[arg(long, value_enum)]
    pub process: Option<ProcessName>,
    /// An argument of the guest; may be repeated
    #[arg(long, value_name = "ARG", allow_hyphen_values = true)]
    pub arg: Vec<String>,
    /// A variable of the guest's environment; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<Variable>,
    /// A folder that the guest may open, and its name for the guest; may be repeated
    #[arg(long, value_name = "HOST:GUEST[:ro|rw]")]
    pub dir: Vec<Directory>,
    /// Where the guest may connect to; may be repeated
    #[arg(long, value_name = "DESTINATION")]
    pub allow_outbound: Vec<String>,
    /// When it runs without a client (systemd.time(7)); may be repeated
    #[arg(long, value_name = "CALENDAR")]
    pub schedule: Vec<String>,
    /// Any other setting, as in its file: memory=128MiB; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<Setting>,
    /// For your own services, not the system's
    #[arg(long)]
    pub user: bool,
    /// Do not connect to it at the end
    #[arg(long)]
    pub no_knock: bool,
    /// Do not start its sockets: they start at the next boot
    #[arg(long)]
    pub no_start: bool,
    /// Print what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Also change files that people wrote
    #[arg(long)]
    pub yes: bool,
    /// Be the process that watches over another (`installation::guard`)
    #[arg(long, hide = true)]
    pub guard: bool,
}

/// `process`
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ProcessName {
    Own,
    Shared,
    Connection,
}

impl ProcessName {
    /// The setting's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Own => "own",
            Self::Shared => "shared",
            Self::Connection => "connection",
        }
    }
}
