//! The handler that is exported: its settings as they are written, and what they mean.

use super::settings;
use crate::{CommandError, host_program};
use rustix::process::geteuid;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use toml::{Table, Value};
use wasm_sock_config::{Config, Environment, HandlerConfig, HostConfig, ListenAddress, ListenKind};

/// The port at which the host answers with its counters: no guest runs for a probe.
pub const METRICS: u16 = 9464;

/// What all handlers have when nothing is said: memory of all guests together, in bytes. Here there is no machine whose
/// memory would be the limit.
pub const DEFAULT_MEMORY: u64 = 512 << 20;

/// What a host needs beside its guests, in bytes.
pub const HOST_MEMORY: u64 = 64 << 20;

/// A port at which the handler listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub number: u16,
    pub is_udp: bool,
}

impl Port {
    /// A name of at most 15 letters and digits.
    pub fn name(self) -> String {
        format!("{}-{}", if self.is_udp { "udp" } else { "tcp" }, self.number)
    }
}

/// A handler.
pub struct Subject {
    pub name: String,
    /// The name as a label of DNS, which other engines want.
    pub label: String,
    /// The `.wasm`.
    pub module: PathBuf,
    pub is_http: bool,
    pub handler: HandlerConfig,
    pub host: HostConfig,
    /// `[handler.NAME]` as it is written.
    pub table: Table,
    /// `[host]` and `[defaults]` as they are written.
    pub common: Table,
    pub ports: Vec<Port>,
    /// Addresses that are no ports.
    pub other_addresses: Vec<String>,
}

impl Subject {
    /// Finds a handler of the configuration in `file`, or where it usually is.
    ///
    /// # Errors
    /// When there is none with this name, a mistake is in its settings, or its `.wasm` is not there.
    pub fn find(name: &str, file: Option<&Path>) -> Result<Self, CommandError> {
        let failed = |why: &str| CommandError::Failed(format!("{name}: {why}"));
        let environment = Environment::current(geteuid().is_root());
        // Files of other handlers may have mistakes, or go at any moment.
        let config = Config::load_only(&BTreeSet::from([name]), file, &environment);
        let config = config.map_err(CommandError::Configuration)?;
        let names = BTreeSet::from([name.to_owned()]);
        let described = host_program::describe_handlers(file, &names)?.pop();
        let described = described.ok_or_else(|| failed("no such handler (`wasm-sock list` prints the names)"))?;
        let module = PathBuf::from(&described.module).with_extension("wasm");
        if !module.is_file() {
            return Err(failed(&described.error.unwrap_or_else(|| {
                format!("{}: not there (a .cwasm is for this machine only)", module.display())
            })));
        }
        let handler = config.handler(name).into_owned();
        let mut table = Table::new();
        let mut common = Table::new();
        for path in &config.files {
            let text = fs::read_to_string(path).map_err(|error| failed(&format!("{}: {error}", path.display())))?;
            let mut document: Table = text
                .parse()
                .map_err(|error| failed(&format!("{}: {error}", path.display())))?;
            if let Some(Value::Table(handlers)) = document.remove("handler")
                && let Some(Value::Table(found)) = handlers.get(name)
            {
                table = found.clone();
            }
            common.extend(document);
        }
        Self::new(name, module, described.is_http, handler, config.host, table, common).map_err(|why| failed(&why))
    }

    /// A handler with these settings.
    ///
    /// # Errors
    /// When it listens at no port, or its name cannot be that of a service elsewhere.
    pub fn new(
        name: &str,
        module: PathBuf,
        is_http: bool,
        handler: HandlerConfig,
        host: HostConfig,
        table: Table,
        common: Table,
    ) -> Result<Self, String> {
        let mut ports = BTreeSet::new();
        let mut other_addresses = Vec::new();
        for listen in &handler.listen {
            match (listen.kind, &listen.address) {
                (ListenKind::Tcp | ListenKind::Udp, ListenAddress::Port(port) | ListenAddress::Ip(_, port)) => {
                    ports.insert(Port {
                        number: *port,
                        is_udp: listen.kind == ListenKind::Udp,
                    });
                }
                _ => other_addresses.push(listen.to_string()),
            }
        }
        if ports.is_empty() {
            return Err(
                "it listens at no port (listen = [\"8080\"]), and other sockets stay on a machine".to_owned(),
            );
        }
        Ok(Self {
            name: name.to_owned(),
            label: label(name)?,
            module,
            is_http,
            handler,
            host,
            table,
            common,
            ports: ports.into_iter().collect(),
            other_addresses,
        })
    }

    /// Names of secrets.
    pub fn secrets(&self) -> Vec<String> {
        settings::strings(&self.table, "secrets")
    }

    /// The limit of a container's memory, in bytes.
    pub fn memory(&self) -> u64 {
        self.host.max_memory.unwrap_or(DEFAULT_MEMORY) + HOST_MEMORY
    }

    /// How long an engine should wait after SIGTERM, in seconds.
    pub fn grace(&self) -> u64 {
        self.host.drain_timeout.as_secs() + 5
    }

    /// What no engine but systemd does for a handler.
    pub fn lost(&self) -> Vec<String> {
        let mut lost =
            vec!["starting on demand: one process runs all the time, also when no client is there".to_owned()];
        let addresses = self.other_addresses.iter();
        lost.extend(addresses.map(|address| format!("listen: {address}, which is a socket of one machine")));
        let events = &self.handler.schedule.calendar;
        if !events.is_empty() {
            lost.push(format!(
                "schedule: {}; `wasm-sock exec {}` in the container is one run",
                events.join(", "),
                self.name
            ));
        }
        lost
    }
}

/// Lower-case letters, digits and `-` between them: RFC 1123.
fn label(name: &str) -> Result<String, String> {
    let replace = |letter: char| match letter.to_ascii_lowercase() {
        letter @ ('a'..='z' | '0'..='9') => letter,
        _ => '-',
    };
    let label: String = name.chars().map(replace).collect();
    let label = label.trim_matches('-').to_owned();
    match label.bytes().next() {
        Some(b'a'..=b'z') if label.len() <= 50 => Ok(label),
        _ => Err("cannot name what is exported: a name begins with a letter, and has at most 50".to_owned()),
    }
}
