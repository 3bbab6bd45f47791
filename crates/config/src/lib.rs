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
mod locate;
mod outbound;
mod quantity;
mod schema;
mod source;
mod suggest;
mod value;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use error::{ConfigError, ConfigErrors, Location, Position};
pub use locate::Environment;
pub use outbound::{Destination, Network, Outbound};
pub use quantity::{parse_duration, parse_idle_timeout, parse_size};

use schema::Role;
use source::SourceFile;

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

/// `[handler.NAME]`: a handler's guest and settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandlerConfig {
    /// The module's absolute path. `None`: `NAME.cwasm` or `NAME.wasm` in [`HostConfig::modules`].
    pub module: Option<PathBuf>,
    /// The guest's arguments from `argv[1]` on; `argv[0]` is the handler's name.
    pub args: Vec<String>,
    /// The guest's environment, sorted by name.
    pub env: Vec<(String, String)>,
    /// The folders the guest may open. Nothing else on the file system is visible to it.
    pub dirs: Vec<DirGrant>,
    /// The destinations that the guest may connect to. Empty: none.
    pub allow_outbound: Vec<Outbound>,
    /// The defaults, with what this handler overrides.
    pub limits: Limits,
    /// As [`Config::http`], with what this handler overrides.
    pub http: Http,
    /// Where the handler is configured, for messages. `None`: nowhere, it runs with the defaults.
    pub location: Option<Location>,
}

impl HandlerConfig {
    /// Descriptors that a connection takes: its own, and one for each folder.
    pub fn descriptors(&self) -> usize {
        1 + self.dirs.len()
    }
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

impl Config {
    /// Finds, reads and checks the whole configuration.
    ///
    /// With `explicit` (`--config FILE`) that file must exist; otherwise `wasm-sock.toml` in the
    /// configuration directory (see [`Environment`]) is read if it exists. Then, either way, the
    /// `handlers.d/*.toml` beside it follow in the order of their names. Hidden files are skipped.
    ///
    /// # Errors
    /// All errors, in the order the files are read and by position within each.
    pub fn load(explicit: Option<&Path>, environment: &Environment<'_>) -> Result<Config, ConfigErrors> {
        let (config, errors) = Config::read(explicit, environment, locate::drop_ins)?;
        match errors.is_empty() {
            true => Ok(config),
            false => Err(ConfigErrors(errors)),
        }
    }

    /// As [`Config::load`], for the handlers of these names: only their files in `handlers.d` are read. An error that
    /// concerns one handler disables only that one: it is [`broken`](Config::broken). Also returns these errors.
    ///
    /// # Errors
    /// All errors, when one of them concerns all handlers: it is outside of the `[handler.NAME]` tables of
    /// `wasm-sock.toml`.
    pub fn load_for(
        names: &BTreeSet<&str>,
        explicit: Option<&Path>,
        environment: &Environment<'_>,
    ) -> Result<(Config, Vec<ConfigError>), ConfigErrors> {
        Config::read(explicit, environment, |folder| Ok(locate::drop_ins_of(names, folder)))
    }

    fn read(
        explicit: Option<&Path>,
        environment: &Environment<'_>,
        drop_ins: impl FnOnce(&Path) -> Result<Vec<PathBuf>, ConfigError>,
    ) -> Result<(Config, Vec<ConfigError>), ConfigErrors> {
        let mut config = Config::built_in(environment.modules_directory());
        let Some(main_file) = explicit.map(Path::to_owned).or_else(|| environment.main_file()) else {
            return Ok((config, Vec::new()));
        };
        let mut errors = Vec::new();
        match SourceFile::read(&main_file) {
            Ok(Some(source)) => errors.extend(config.apply(source, Role::Main)),
            Ok(None) if explicit.is_none() => {}
            Ok(None) => errors.push(ConfigError::missing(&main_file, "see --config")),
            Err(error) => errors.push(error),
        }
        let files = drop_ins(&main_file.with_file_name(DROP_INS)).unwrap_or_else(|error| {
            errors.push(error);
            Vec::new()
        });
        let concerns_all = errors.iter().any(|error| error.handler.is_none());
        errors.extend(files.into_iter().flat_map(|file| config.apply_drop_in(&file)));
        if concerns_all {
            return Err(ConfigErrors(errors));
        }
        let Config { handlers, broken, .. } = &mut config;
        handlers.retain(|name, _| !broken.contains_key(name));
        Ok((config, errors))
    }

    /// The settings of handler `name`: its `[handler.NAME]` table if there is one, else the
    /// defaults. Whether `name` is a [`valid_handler_name`] is the caller's to check.
    pub fn handler(&self, name: &str) -> Cow<'_, HandlerConfig> {
        match self.handlers.get(name) {
            Some(handler) => Cow::Borrowed(handler),
            None => Cow::Owned(HandlerConfig {
                limits: self.defaults,
                http: self.http,
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
            handlers: BTreeMap::new(),
            broken: BTreeMap::new(),
            files: Vec::new(),
        }
    }

    fn apply(&mut self, source: SourceFile, role: Role<'_>) -> Vec<ConfigError> {
        let errors = schema::check(&source, role, self);
        for name in errors.iter().filter_map(|error| error.handler.as_ref()) {
            self.broken(name, &source.path);
        }
        self.files.push(source.path);
        errors
    }

    /// Reads `handlers.d/NAME.toml`. Every error in it concerns handler `NAME`, which is then not served: without the
    /// file it would run with the defaults, which may grant it more.
    fn apply_drop_in(&mut self, file: &Path) -> Vec<ConfigError> {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        let mut errors = match SourceFile::read(file) {
            Ok(Some(source)) => self.apply(source, Role::DropIn(&name)),
            // It was listed a moment ago, so it is a dangling symbolic link.
            Ok(None) => vec![ConfigError::missing(file, "a dangling link? remove it")],
            Err(error) => vec![error],
        };
        for error in &mut errors {
            error.handler.get_or_insert_with(|| name.to_string());
            self.broken(&name, file);
        }
        errors
    }

    fn broken(&mut self, name: &str, file: &Path) {
        self.broken.entry(name.to_owned()).or_insert_with(|| file.to_owned());
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
