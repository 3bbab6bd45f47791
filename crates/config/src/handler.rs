//! A handler's settings.

use std::path::PathBuf;
use std::time::Duration;

use super::{ConfigValue, Http, KeyValue, Limits, Listen, Location, Outbound, OutboundLimits, StoreAddress};

/// `[handler.NAME]`: a handler's guest and settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerConfig {
    /// The module's absolute path. `None`: `NAME.cwasm` or `NAME.wasm` in [`HostConfig::modules`].
    pub module: Option<PathBuf>,
    /// The guest's arguments from `argv[1]` on; `argv[0]` is the handler's name.
    pub args: Vec<String>,
    /// The guest's environment, sorted by name.
    pub env: Vec<(String, String)>,
    /// What the guest may ask for by name (`wasi:config`), sorted by key. None of the keys is in `secrets`.
    pub config: Vec<(String, ConfigValue)>,
    /// The secrets that the guest may ask for in the same way: each is a credential of the service
    /// ([`credential_name`](super::credential_name)).
    pub secrets: Vec<String>,
    /// The folders the guest may open. Nothing else on the file system is visible to it.
    pub dirs: Vec<DirGrant>,
    /// The destinations that the guest may connect to. Empty: none.
    pub allow_outbound: Vec<Outbound>,
    /// Limits of the HTTP requests that the guest makes.
    pub outbound: OutboundLimits,
    /// The key-value stores that the guest may open, by name. Empty: none.
    pub keyvalue: Vec<KeyValue>,
    /// The most that those which are embedded may grow to together, in bytes.
    pub keyvalue_quota: u64,
    /// For the connections that the guest makes by TLS.
    pub tls: TlsFiles,
    /// The defaults, with what this handler overrides.
    pub limits: Limits,
    /// As [`Config::http`], with what this handler overrides.
    pub http: Http,
    /// As [`Config::logging`](super::Config::logging), with what this handler overrides.
    pub logging: Logging,
    /// The sockets that systemd makes for it. Empty: it has those that unit files give it.
    pub listen: Vec<Listen>,
    /// Settings of these sockets.
    pub socket: SocketOptions,
    /// Which process serves these sockets.
    pub process: Process,
    /// Whether it has units. The host serves a socket that names a disabled handler all the same.
    pub enabled: bool,
    /// When it runs without a client.
    pub schedule: Schedule,
    /// Whether a mistake leaves open which units it has: one in the first address, in `socket`, `process` or `enabled`,
    /// or one of syntax that may hide these.
    pub has_unit_mistake: bool,
    /// Where the handler is configured, for messages. `None`: nowhere, it runs with the defaults.
    pub location: Option<Location>,
}

impl Default for HandlerConfig {
    fn default() -> Self {
        HandlerConfig {
            module: None,
            args: Vec::new(),
            env: Vec::new(),
            config: Vec::new(),
            secrets: Vec::new(),
            dirs: Vec::new(),
            allow_outbound: Vec::new(),
            outbound: OutboundLimits::default(),
            keyvalue: Vec::new(),
            keyvalue_quota: 64 << 20,
            tls: TlsFiles::default(),
            limits: Limits::default(),
            http: Http::default(),
            logging: Logging::default(),
            listen: Vec::new(),
            socket: SocketOptions::default(),
            process: Process::default(),
            enabled: true,
            schedule: Schedule::default(),
            has_unit_mistake: false,
            location: None,
        }
    }
}

impl HandlerConfig {
    /// Does its host need `wasm-sock-egress`: do its guests reach out, or are stores of theirs at a server?
    pub fn reaches_out(&self) -> bool {
        let is_at_server = |store: &KeyValue| store.at != StoreAddress::Embedded;
        !self.allow_outbound.is_empty() || self.keyvalue.iter().any(is_at_server)
    }

    /// Does it keep a store in files of its own?
    pub fn has_embedded_store(&self) -> bool {
        self.keyvalue.iter().any(|store| store.at == StoreAddress::Embedded)
    }

    /// Descriptors that a connection takes: its own, and one for each folder.
    pub fn descriptors(&self) -> usize {
        1 + self.dirs.len()
    }

    /// Whether a guest may ask for what is in a file: a value of `config`, or a secret.
    pub fn reads_files(&self) -> bool {
        let is_file = |(_, value): &(String, ConfigValue)| matches!(value, ConfigValue::File(_));
        !self.secrets.is_empty() || self.config.iter().any(is_file)
    }
}

/// `tls-roots`, `tls-certificate`, `tls-key`: absolute paths of files in PEM (RFC 7468), which `wasm-sock-egress` reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificates of the authorities that are trusted. `None`: the system's.
    pub roots: Option<PathBuf>,
    /// The client's certificate, followed by those between it and its authority, and its private key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// A folder of the host that a guest may open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirGrant {
    /// Absolute path on the host. Not checked here: it need not exist yet.
    pub host: PathBuf,
    /// The name the guest knows it by: an absolute path, a relative one, or `.`.
    pub guest: String,
    pub access: Access,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    ReadOnly,
    ReadWrite,
}

/// `log` and `log-sample`: which connections, datagrams and requests get a line in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Logging {
    pub which: Logged,
    /// Of this many that succeed, one is logged; at least 1. Failures are all logged.
    pub sample: u32,
}

impl Default for Logging {
    fn default() -> Self {
        Logging {
            which: Logged::default(),
            sample: 1,
        }
    }
}

/// `log`
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Logged {
    #[default]
    All,
    Failures,
    None,
}

/// `socket`: what systemd.socket(5) calls `SocketUser=`, `SocketMode=` and so on. `None`: systemd's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// The owner of Unix sockets in the file system: a name or a number.
    pub user: Option<String>,
    pub group: Option<String>,
    /// The access mode of Unix sockets in the file system.
    pub mode: Option<u32>,
    /// The access mode of folders that are made for them.
    pub directory_mode: Option<u32>,
    /// How many connections may wait to be accepted.
    pub backlog: Option<u32>,
    /// The network interface that clients come from.
    pub interface: Option<String>,
    /// The address need not exist yet.
    pub free_bind: Option<bool>,
    pub no_delay: Option<bool>,
    /// Whether `[::]` and a port without an address are for IPv6 only.
    pub ipv6_only: Option<bool>,
    pub keep_alive: Option<bool>,
    /// Absolute paths of symbolic links to the socket, which must then be the only one in the file system.
    pub symlinks: Vec<String>,
}

/// `process`: which process serves a handler's sockets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Process {
    /// `wasm-sock@NAME.service`
    #[default]
    Own,
    /// `wasm-sock.service`, with others.
    Shared,
    /// One for each connection, which systemd accepts (`Accept=yes`).
    Connection,
}

/// `schedule` and its like: runs of a handler without a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Calendar events of systemd.time(7), which only systemd can check. Empty: none.
    pub calendar: Vec<String>,
    /// The longest random delay of a run.
    pub jitter: Duration,
    /// Whether a run that was missed is made up for.
    pub persistent: bool,
    /// The path of the request that a guest of HTTP gets.
    pub path: String,
    /// The absolute path of the guest's standard input. `None`: it is empty.
    pub input: Option<PathBuf>,
    /// Whether a mistake is in it. Then there is no timer.
    pub has_mistake: bool,
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule {
            calendar: Vec::new(),
            jitter: Duration::ZERO,
            persistent: true,
            path: "/".to_owned(),
            input: None,
            has_mistake: false,
        }
    }
}
