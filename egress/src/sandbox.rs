//! The sandbox: files by Landlock (`landlock(7)`), system calls by seccomp (`seccomp(2)`). No program is run, no file is
//! written, no port is listened at.

use crate::options::Options;
use crate::tls::SYSTEM_ROOTS;
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, NetPort, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use libc::sock_filter;
use rustix::process::{DumpableBehavior, Resource, Rlimit, geteuid, set_dumpable_behavior, setrlimit};
use rustix::thread::set_no_new_privs;
use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use wasm_sock_config::{Config, Environment, TlsFiles};
use wasm_sock_seccomp::install;
use wasm_sock_seccomp::lists::{Call, EGRESS};

/// Compiled by `build.rs`.
static FILTER: &[sock_filter] = include!(concat!(env!("OUT_DIR"), "/filter.rs"));

const fn step(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// What the C library, TLS and the configuration are read from. `/proc`: who asks. `/run`: what files in `/etc` are
/// links to (`resolv.conf`), and credentials.
const ALWAYS: [&str; 6] = [
    "/etc",
    "/run",
    "/proc",
    "/usr/share",
    "/usr/lib/ssl",
    "/var/lib/ca-certificates",
];

/// The newest ABI that is used.
const KNOWN: ABI = ABI::V6;

/// Any port, chosen by the kernel (`bind(2)`).
const ANY_PORT: u16 = 0;

/// The files that it reads.
pub struct Needs {
    read: BTreeSet<PathBuf>,
}

impl Needs {
    /// By the options, and by the configuration as it is now.
    pub fn of(options: &Options) -> Self {
        let mut read: BTreeSet<PathBuf> = ALWAYS.map(PathBuf::from).into();
        read.extend(SYSTEM_ROOTS.map(PathBuf::from));
        read.extend(std::env::var_os("SSL_CERT_FILE").map(PathBuf::from));
        let environment = Environment::current(geteuid().is_root());
        let main_file = options.config.clone().or_else(|| environment.main_file());
        read.extend(main_file.as_deref().and_then(folder_of));
        // Mistakes are reported when a handler asks.
        if let Ok(config) = Config::load(options.config.as_deref(), &environment) {
            for TlsFiles { roots, identity } in config.handlers.values().map(|handler| &handler.tls) {
                let identity = identity.iter().flat_map(|(certificate, key)| [certificate, key]);
                read.extend(roots.iter().chain(identity).filter_map(|file| folder_of(file)));
            }
        }
        Self { read }
    }
}

/// The folder instead of the file, which may be replaced by another one of its name. Not the root folder.
fn folder_of(file: &Path) -> Option<PathBuf> {
    let file = std::path::absolute(file).ok()?;
    let folder = file.parent()?;
    Some(if folder.parent().is_some() {
        folder.to_owned()
    } else {
        file
    })
}

/// Confines this process, which must have one thread. Returns what the kernel does not support.
pub fn enter(needs: &Needs) -> Vec<String> {
    let mut missing = Vec::new();
    // Memory holds keys.
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let private = setrlimit(Resource::Core, none).and_then(|()| set_dumpable_behavior(DumpableBehavior::NotDumpable));
    if let Err(error) = private {
        missing.push(format!("memory may be dumped ({error})"));
    }
    if let Err(error) = set_no_new_privs(true) {
        missing.push(format!("programs may gain privileges ({error})"));
    }
    match ruleset(needs).and_then(RulesetCreated::restrict_self) {
        Ok(status) if status.ruleset == RulesetStatus::FullyEnforced => {}
        Ok(_) => missing.push("files and ports are confined in part (Landlock of this kernel is old)".to_owned()),
        Err(error) => missing.push(format!("files and ports are not confined ({error})")),
    }
    missing.extend(
        install(FILTER)
            .err()
            .map(|error| format!("system calls are not filtered ({error})")),
    );
    missing
}

/// Connecting to ports is not handled: which, is the policy's to say.
fn ruleset(needs: &Needs) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::Signal | Scope::AbstractUnixSocket)?
        .create()?
        .add_rule(NetPort::new(ANY_PORT, AccessNet::BindTcp))?;
    for path in &needs.read {
        // One that does not exist is reported when it is read.
        if let Ok(fd) = PathFd::new(path) {
            let access = if path.is_dir() {
                AccessFs::ReadFile | AccessFs::ReadDir
            } else {
                AccessFs::ReadFile.into()
            };
            ruleset = ruleset.add_rule(PathBeneath::new(fd, access))?;
        }
    }
    Ok(ruleset)
}

impl Display for Needs {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "files (everything else is refused):")?;
        for path in &self.read {
            let missing = if path.exists() { "" } else { " (not there)" };
            writeln!(f, "  {}: read{missing}", path.display())?;
        }
        writeln!(f, "  no program is run")?;
        writeln!(f, "\nTCP ports:\n  connect to any, listen at none")?;
        let name = |call: &Call| format!("{}{}", call.name, if call.conditions.is_empty() { "" } else { "*" });
        let names: Vec<String> = EGRESS.iter().map(name).collect();
        writeln!(f, "\nsystem calls (all others fail with EPERM):\n  {}", names.join(" "))?;
        write!(f, "  * with some arguments only")
    }
}
