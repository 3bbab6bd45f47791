//! The command line of `wasm-sock install`.

use crate::settings::{Directory, Setting, Variable};
use clap::ValueEnum;
use std::path::PathBuf;

const AFTER: &str = "\
* may be given several times. Given again, `install` updates: the module, and of
the settings those that are given; open connections finish on the former guest.

Examples:
  wasm-sock install hello.wasm --listen 7000
  wasm-sock install api.wasm --listen 127.0.0.1:8080 --dir /srv/api:/data:rw
  wasm-sock install oci://HOST/NAME@sha256:DIGEST --listen 7000";

/// The arguments of `wasm-sock install`.
#[derive(Debug, Default, PartialEq, Eq, clap::Args)]
#[command(after_help = AFTER)]
pub struct Install {
    /// The module, - (standard input), a project, or a module in a registry
    #[arg(value_name = "FILE|-|FOLDER|oci://…")]
    pub source: PathBuf,
    /// Name of the handler [default: the file's]
    #[arg(long)]
    pub name: Option<String>,
    /// * Where it listens: 7000, udp:53, unix:/run/x
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Vec<String>,
    /// What serves it: own, shared, or connection
    #[arg(long, value_enum, hide_possible_values = true)]
    pub process: Option<ProcessName>,
    /// * Argument of the guest
    #[arg(long, allow_hyphen_values = true)]
    pub arg: Vec<String>,
    /// * Variable of the guest's environment
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<Variable>,
    /// * Folder that the guest may open
    #[arg(long, value_name = "HOST:GUEST[:rw]")]
    pub dir: Vec<Directory>,
    /// * Where the guest may connect to
    #[arg(long, value_name = "DEST")]
    pub allow_outbound: Vec<String>,
    /// * When it runs without a client: daily
    #[arg(long, value_name = "CALENDAR")]
    pub schedule: Vec<String>,
    /// * Any setting of its file: memory=128MiB
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<Setting>,
    /// A service of yours, not of the system's
    #[arg(long)]
    pub user: bool,
    /// Do not connect to it to prove that it works
    #[arg(long)]
    pub no_knock: bool,
    /// Do not start it before the next boot
    #[arg(long)]
    pub no_start: bool,
    /// Print what would be done, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Change also files that people wrote
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
