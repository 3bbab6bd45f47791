//! The configuration (`wasm-sock.toml`, `handlers.d/*.toml`): handlers, their grants, limits and time-outs.
//!
//! [`Config::load`] finds and reads the files, and reports all errors at once. No file is required: without any,
//! every handler runs with the built-in defaults.
//!
//! `handlers.d/NAME.toml` holds `[handler.NAME]` and nothing else. So a host reads the files of those handlers only
//! whose sockets it was passed ([`Config::load_for`]): one file each, however many there are.
//!
//! Everything outside the files (the command line, the environment, which service manager started
//! us) comes in as arguments, so that the same call serves `host`, `check` and the tests.

mod checker;
mod error;
mod handler;
mod keyvalue;
mod listen;
mod load;
mod locate;
mod outbound;
mod outgoing;
mod quantity;
mod schema;
pub mod settings;
mod source;
mod suggest;
mod value;
mod values;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::{ConfigError, ConfigErrors, Location, Position};
pub use handler::{Access, DirGrant, HandlerConfig, Logged, Logging, Process, Schedule, SocketOptions, TlsFiles};
pub use keyvalue::{KeyValue, LEAST_KEYVALUE_QUOTA, Password, RedisAddress, RedisServer, StoreAddress};
pub use listen::{Clash, Listen, ListenAddress, ListenKind};
pub use locate::Environment;
pub use outbound::{
    Destination, Network, Outbound, OutboundRequest, Scope, Transport, UrlGrant, address, allows_request,
    allows_to_look_up,
};
pub use outgoing::OutboundLimits;
pub use quantity::{parse_duration, parse_idle_timeout, parse_size};
pub use suggest::distance;
pub use values::{ConfigValue, credential_name, valid_secret_name};

/// Descriptors of a host that are not for connections: standard streams, event loop, signals, the journal, a module
/// that is loaded, the compiler's pipes.
pub const RESERVED_DESCRIPTORS: usize = 24;

/// The folder beside `wasm-sock.toml` with a file for each handler.
pub const DROP_INS: &str = "handlers.d";

/// The checked configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    pub host: HostConfig,
    /// The default limits of all handlers.
    pub defaults: Limits,
    /// The default HTTP settings of all handlers.
    pub http: Http,
    /// What all handlers log by default.
    pub logging: Logging,
    /// The `[handler.NAME]` tables that were read. A handler needs none; see [`Config::handler`].
    pub handlers: BTreeMap<String, HandlerConfig>,
    /// Handlers that are not served because of a mistake, and the file that it is in. None of them is
    /// in `handlers`.
    pub broken: BTreeMap<String, PathBuf>,
    /// The files that were read, in the order they were read. Empty without any configuration.
    pub files: Vec<PathBuf>,
}

/// `[host]`: settings of the process: idle exit, draining, folders, limits of all handlers together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostConfig {
    /// How long the host runs with no connection in flight. Zero: it exits after the last one. `None`: it never exits
    /// by itself.
    pub idle_timeout: Option<Duration>,
    /// How long connections in flight may go on after SIGTERM. Zero: not at all.
    pub drain_timeout: Duration,
    /// The absolute path of the folder that relative module paths start from.
    pub modules: PathBuf,
    /// Stack of one guest, in bytes.
    pub stack: u32,
    /// Connections of all handlers together, at least 1. `None`: no limit but descriptors.
    pub max_connections: Option<u32>,
    /// Linear memories and tables of all guests together, in bytes. `None`: as much as the machine has.
    pub max_memory: Option<u64>,
    /// Serve nothing where the kernel cannot confine the process (Landlock, seccomp).
    pub require_sandbox: bool,
    pub reload: Reload,
    pub when_idle: WhenIdle,
}

/// What the process that the service manager has started does while there is nothing to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenIdle {
    /// It exits; the service manager watches the sockets, and starts the next host.
    #[default]
    Exit,
    /// It watches the sockets itself, as `wasm-sock-keeper`, and starts hosts as child processes.
    Park,
}

impl WhenIdle {
    /// The one of this name, as in the configuration.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "exit" => Some(Self::Exit),
            "park" => Some(Self::Park),
            _ => None,
        }
    }
}

/// How a running host gets new settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reload {
    /// It reads the configuration again, as far as what is new in it can be had by a process that has confined itself.
    #[default]
    InPlace,
    /// It ends, and the next one reads the configuration. It gives up the right to read it once it has.
    HandOver,
}

impl Default for HostConfig {
    /// Without the folder of modules, which depends on the user ([`Environment`]).
    fn default() -> Self {
        HostConfig {
            idle_timeout: Some(Duration::from_secs(30)),
            drain_timeout: Duration::from_secs(10),
            modules: PathBuf::new(),
            stack: 512 << 10,
            max_connections: None,
            max_memory: None,
            require_sandbox: false,
            reload: Reload::default(),
            when_idle: WhenIdle::default(),
        }
    }
}

/// Limits of one connection, and of the connections of a handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Linear memory of one guest instance, in bytes.
    pub memory: u64,
    /// Elements of all its tables together, at least 1; they count as memory, too.
    pub table_elements: u32,
    /// Wall-clock time of one connection or one HTTP request. `None`: no limit.
    pub timeout: Option<Duration>,
    /// CPU time of one connection or one HTTP request. `None`: no limit.
    pub cpu_time: Option<Duration>,
    /// How long a connection may be silent in both directions; for HTTP, while a body is being transferred. `None`:
    /// no limit.
    pub idle_connection_timeout: Option<Duration>,
    /// Connections that this handler serves at the same time, at least 1.
    pub max_connections: u32,
    /// Those of one IP address (IPv6: /64) other than this machine's own, at least 1. `None`: no
    /// limit but `max_connections`.
    pub max_connections_per_source: Option<u32>,
    /// Bytes that one connection, answer or datagram may send, at least 1. `None`: no limit.
    pub max_output: Option<u64>,
    /// The largest datagram that is received, in bytes: 1 to 1 MiB.
    pub max_datagram: u32,
    /// Lines that its guests may log in ten seconds; one of them, half as many. `None`: no limit.
    pub max_log: Option<u32>,
}

impl Limits {
    /// `idle_connection_timeout`, if it is shorter than `timeout`.
    pub fn silence(&self) -> Option<Duration> {
        let lasts_longer = |silence| self.timeout.is_none_or(|timeout| silence < timeout);
        self.idle_connection_timeout.filter(|silence| lasts_longer(*silence))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: 64 << 20,
            table_elements: 1_000_000,
            timeout: Some(Duration::from_secs(60)),
            cpu_time: Some(Duration::from_secs(5)),
            idle_connection_timeout: Some(Duration::from_secs(600)),
            max_connections: 256,
            max_connections_per_source: Some(64),
            max_output: None,
            max_datagram: 65_535,
            max_log: Some(1000),
        }
    }
}

/// HTTP settings of a handler. Without effect on guests that do not answer HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Http {
    /// How long a client may take to send the head of a request, never zero. `None`: no limit.
    pub head_timeout: Option<Duration>,
    /// How long a connection without a request in flight stays open. Zero: it is closed after
    /// each response. `None`: until the client or the host closes it.
    pub keep_alive: Option<Duration>,
    /// The head of one request, in bytes: 8 KiB, the least that hyper takes, to 1 MiB.
    pub max_head: u32,
    /// The body of one request, in bytes. Zero: only requests without a body are answered.
    pub max_body: u64,
    /// Requests that one instance of a WASI 0.3 guest may answer, at least 1, which is a fresh
    /// instance for each. A WASI 0.2 guest always gets a fresh one.
    pub reuse: u32,
    /// How many of them at the same time, at least 1. More than `reuse` is as many as `reuse`.
    pub concurrency: u32,
    pub forwarded_for: ForwardedFor,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            head_timeout: Some(Duration::from_secs(10)),
            keep_alive: Some(Duration::from_secs(60)),
            max_head: 32 << 10,
            max_body: 16 << 20,
            reuse: 128,
            concurrency: 16,
            forwarded_for: ForwardedFor::default(),
        }
    }
}

/// Treatment of the request headers in which a proxy names its client: `Forwarded` (RFC 7239) and `X-Forwarded-*`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ForwardedFor {
    /// They are replaced by the address that the host sees, so that a client cannot forge another.
    #[default]
    Set,
    /// The client is a proxy that can be trusted: its headers are passed on.
    Trust,
    /// Guests see none.
    Off,
}

impl Config {
    /// The addresses that several enabled handlers listen at. The first of them by name has it.
    pub fn clashes(&self) -> Vec<Clash<'_>> {
        listen::clashes(self.handlers.iter().map(|(name, handler)| (name.as_str(), handler)))
    }

    /// The settings of handler `name`: its `[handler.NAME]` table if there is one, else the
    /// defaults. Whether `name` is a [`valid_handler_name`] is the caller's to check.
    pub fn handler(&self, name: &str) -> Cow<'_, HandlerConfig> {
        match self.handlers.get(name) {
            Some(handler) => Cow::Borrowed(handler),
            None => Cow::Owned(HandlerConfig {
                limits: self.defaults,
                http: self.http,
                logging: self.logging,
                ..HandlerConfig::default()
            }),
        }
    }

    /// The names of all handlers: those that are configured, and those that are only a module in
    /// [`HostConfig::modules`]. Also returns why that folder cannot be read, if it is there.
    pub fn handler_names(&self) -> (BTreeSet<String>, Option<io::Error>) {
        let mut names: BTreeSet<String> = self.handlers.keys().cloned().collect();
        let error = match locate::modules(&self.host.modules) {
            Ok(modules) => {
                names.extend(modules);
                None
            }
            // Handlers may have all their modules elsewhere.
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(error),
        };
        (names, error)
    }

    /// The file with an error because of which a handler is not served.
    pub fn mistake_about(&self, name: &str) -> Option<&Path> {
        self.broken.get(name).map(PathBuf::as_path)
    }

    /// The files and folders to watch for the correction of an error; none if there is no error.
    pub fn mistaken(&self) -> Vec<&Path> {
        if self.broken.is_empty() {
            return Vec::new();
        }
        let files = || self.broken.values().chain(&self.files).map(PathBuf::as_path);
        files().chain(files().filter_map(Path::parent)).collect()
    }

    fn built_in(modules: PathBuf) -> Config {
        Config {
            host: HostConfig {
                modules,
                ..HostConfig::default()
            },
            defaults: Limits::default(),
            http: Http::default(),
            logging: Logging::default(),
            handlers: BTreeMap::new(),
            broken: BTreeMap::new(),
            files: Vec::new(),
        }
    }
}

/// Whether `name` can name a handler: what systemd allows as `FileDescriptorName=`
/// (systemd.socket(5): printable ASCII, no `:`, at most 255 characters), not empty, and safe as
/// part of a file name, since `NAME.wasm` is looked for in the module directory.
pub fn valid_handler_name(name: &str) -> bool {
    let printable = |byte: u8| matches!(byte, b' '..=b'~');
    (1..=255).contains(&name.len())
        && name.bytes().all(|byte| printable(byte) && byte != b':' && byte != b'/')
        && name != "."
        && name != ".."
}
