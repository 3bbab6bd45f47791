//! What there is to tell of handlers: from the configuration, their socket units, their counters and their processes.

mod process;
mod unit_files;

use crate::CommandError;
use crate::scope::Scope;
use process::Usage;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::thread;
use unit_files::SocketFile;
use wasm_sock_config::{Config, ConfigError};
use wasm_sock_stats::{HandlerSnapshot, Outcome, read_all};

/// Where a handler is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// A host is running.
    Awake,
    /// systemd waits for a client.
    Asleep,
    /// systemd has given up a socket.
    Failed,
    /// It has sockets, and none of them is open.
    Off,
    /// It has no socket, and runs when its timer says.
    Scheduled,
    /// It has no socket.
    Unreachable,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Awake => "awake",
            Self::Asleep => "asleep",
            Self::Failed => "failed",
            Self::Off => "off",
            Self::Scheduled => "scheduled",
            Self::Unreachable => "no socket",
        }
    }
}

/// A handler.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Handler {
    pub name: String,
    /// Its addresses, as they are configured.
    pub addresses: Vec<String>,
    /// When it runs without a client, in systemd's words.
    pub schedule: Vec<String>,
    /// Its socket units, with their states (`ActiveState`); empty: not loaded.
    pub sockets: BTreeMap<String, String>,
    /// Is it configured, with a table of its own?
    pub is_configured: bool,
    pub counters: HandlerSnapshot,
    /// What its services use now. (Another handler may be in the same service.)
    pub usage: Option<Usage>,
    /// Is there a mistake in its configuration?
    pub is_broken: bool,
}

impl Handler {
    pub fn state(&self) -> State {
        let any = |state: &str| self.sockets.values().any(|known| known == state);
        match () {
            () if !self.counters.hosts.is_empty() => State::Awake,
            () if self.sockets.is_empty() && !self.schedule.is_empty() => State::Scheduled,
            () if self.sockets.is_empty() => State::Unreachable,
            () if any("failed") => State::Failed,
            () if any("active") => State::Asleep,
            () => State::Off,
        }
    }

    /// Is it a service, or was it meant to be one? Else it is a module that nothing leads to. (Sockets of units with
    /// other names are not known, but that clients have been served is.)
    pub fn is_service(&self) -> bool {
        let has_served = !self.counters.hosts.is_empty() || self.counters.served() > 0;
        self.is_configured || self.is_broken || !self.sockets.is_empty() || has_served
    }

    /// When its oldest host has started; `None`: none is running.
    pub fn awake_since(&self) -> Option<u64> {
        self.counters.hosts.iter().map(|host| host.since).min()
    }

    /// Those that have failed, by their kind, the most frequent first.
    pub fn failures(&self) -> Vec<(&'static str, u64)> {
        let kinds = Outcome::ALL.into_iter().map(Outcome::as_str).zip(self.counters.ended);
        let is_failure = |kind: &str| kind != Outcome::Ok.as_str() && kind != Outcome::ClientLeft.as_str();
        let kinds = kinds.chain([("killed", self.counters.killed)]);
        let mut failures: Vec<_> = kinds.filter(|(kind, count)| is_failure(kind) && *count > 0).collect();
        failures.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        failures
    }
}

/// All handlers, and the mistakes in the configuration.
pub struct Handlers {
    pub handlers: Vec<Handler>,
    pub config: Option<Config>,
    pub mistakes: Vec<ConfigError>,
}

impl Handlers {
    /// Collects what there is to tell of all handlers. No service manager is needed; without one, the states of socket
    /// units are not known.
    ///
    /// # Errors
    /// When the counters cannot be read.
    pub fn collect(scope: Scope) -> Result<Self, CommandError> {
        // systemctl takes the longest.
        let active = thread::spawn(move || unit_files::active_states(scope));
        let counters = thread::spawn(move || read_all(&scope.stats_directory()));
        let (config, mistakes) = configuration(scope);
        let files = unit_files::socket_files(scope);
        let directory = scope.stats_directory();
        let counters = counters.join().unwrap_or_else(|_| Ok(Vec::new()));
        let counters = counters.map_err(|error| CommandError::Failed(format!("{}: {error}", directory.display())))?;
        let active = active.join().unwrap_or_default();
        let mut handlers = known(config.as_ref(), &mistakes, &files, counters);
        let mut usages = process::Usages::default();
        for handler in handlers.values_mut() {
            for (unit, state) in &mut handler.sockets {
                active
                    .get(unit)
                    .map(String::as_str)
                    .unwrap_or_default()
                    .clone_into(state);
            }
            handler.usage = usages.of(&handler.counters.hosts);
        }
        Ok(Self {
            handlers: handlers.into_values().collect(),
            config,
            mistakes,
        })
    }
}

/// The configuration, with what of it can be used, and the mistakes in it.
fn configuration(scope: Scope) -> (Option<Config>, Vec<ConfigError>) {
    let environment = scope.environment();
    let folder = environment.main_file().map(|file| file.with_file_name("handlers.d"));
    let entries = folder.and_then(|folder| fs::read_dir(folder).ok());
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let files = paths.filter(|path| path.extension() == Some(OsStr::new("toml")));
    let names: Vec<String> = files
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    match Config::load_for(&names.iter().map(String::as_str).collect(), None, &environment) {
        Ok((config, mistakes)) => (Some(config), mistakes),
        Err(errors) => (None, errors.0),
    }
}

/// The handlers that any of these know.
fn known(
    config: Option<&Config>,
    mistakes: &[ConfigError],
    files: &[SocketFile],
    counters: Vec<HandlerSnapshot>,
) -> BTreeMap<String, Handler> {
    let mut handlers: BTreeMap<String, Handler> = BTreeMap::new();
    for config in config.into_iter() {
        for name in config.handler_names().0 {
            let handler = add(&mut handlers, &name);
            let settings = config.handler(&name);
            handler.is_configured = config.handlers.contains_key(&name);
            handler
                .addresses
                .extend(settings.listen.iter().map(ToString::to_string));
            if settings.enabled {
                let units = wasm_sock_units::sockets(&name, &settings).into_iter();
                handler.sockets.extend(units.map(|(unit, _)| (unit, String::new())));
                handler.schedule.clone_from(&settings.schedule.calendar);
            }
        }
    }
    let broken: BTreeSet<&String> = mistakes.iter().filter_map(|error| error.handler.as_ref()).collect();
    for name in broken {
        add(&mut handlers, name).is_broken = true;
    }
    for file in files {
        let handler = add(&mut handlers, &file.handler);
        // The generator's own are known from the configuration, which says it as it was written.
        if handler.sockets.insert(file.unit.clone(), String::new()).is_none() {
            handler.addresses.extend(file.addresses.iter().cloned());
        }
    }
    for snapshot in counters {
        let name = snapshot.name.clone();
        add(&mut handlers, &name).counters = snapshot;
    }
    handlers
}

fn add<'a>(handlers: &'a mut BTreeMap<String, Handler>, name: &str) -> &'a mut Handler {
    handlers.entry(name.to_owned()).or_insert_with(|| Handler {
        name: name.to_owned(),
        ..Handler::default()
    })
}

/// A handler as JSON, which `list --json` and `status --json` print. Fields are added, never changed.
#[derive(Debug, Serialize)]
pub struct HandlerJson<'a> {
    pub handler: &'a str,
    pub addresses: &'a [String],
    pub state: State,
    /// When the oldest running host has started, in microseconds since 1970.
    pub awake_since_usec: Option<u64>,
    pub pids: Vec<u32>,
    pub sockets: &'a BTreeMap<String, String>,
    pub schedule: &'a [String],
    pub activations: u64,
    pub in_flight: u64,
    pub served: u64,
    pub failed: u64,
    pub outcomes: BTreeMap<&'static str, u64>,
    pub http_answers: BTreeMap<&'static str, u64>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub cpu_usec: u64,
    pub memory_peak: u64,
    pub log_lines_dropped: u64,
    pub last_client_usec: Option<u64>,
    /// Since when it is counted.
    pub counted_since_usec: Option<u64>,
    /// What its services use now.
    pub service_memory: Option<u64>,
    pub service_cpu_usec: Option<u64>,
    pub reload_failed: bool,
    pub has_mistakes: bool,
}

impl<'a> From<&'a Handler> for HandlerJson<'a> {
    fn from(handler: &'a Handler) -> Self {
        let counters = &handler.counters;
        let set = |time: u64| (time > 0).then_some(time);
        let words = Outcome::ALL.into_iter().map(Outcome::as_str);
        let outcomes = words.zip(counters.ended).chain([("killed", counters.killed)]);
        Self {
            handler: &handler.name,
            addresses: &handler.addresses,
            state: handler.state(),
            awake_since_usec: handler.awake_since(),
            pids: counters.hosts.iter().map(|host| host.pid).collect(),
            sockets: &handler.sockets,
            schedule: &handler.schedule,
            activations: counters.activations,
            in_flight: counters.in_flight,
            served: counters.served(),
            failed: counters.failed(),
            outcomes: outcomes.collect(),
            http_answers: ["1xx", "2xx", "3xx", "4xx", "5xx"]
                .into_iter()
                .zip(counters.classes)
                .collect(),
            bytes_in: counters.bytes_in,
            bytes_out: counters.bytes_out,
            cpu_usec: counters.cpu / 1_000,
            memory_peak: counters.memory_peak,
            log_lines_dropped: counters.lines_dropped,
            last_client_usec: set(counters.last_client),
            counted_since_usec: set(counters.created),
            service_memory: handler.usage.map(|usage| usage.memory),
            service_cpu_usec: handler.usage.map(|usage| usage.cpu_usec),
            reload_failed: counters.hosts.iter().any(|host| host.reload_failed),
            has_mistakes: handler.is_broken,
        }
    }
}
