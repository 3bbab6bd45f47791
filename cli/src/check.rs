//! `wasm-sock check`: validates configuration, modules, directories and socket units without serving, and prints them
//! as tables.

mod capacity;
mod listening;
mod open_sockets;
mod outbound;
mod schedules;
pub mod secrets;
mod stores;
mod units;

use crate::host_program::{self, HandlerDescription};
use crate::{CommandError, print};
use capacity::ServiceHandlers;
use open_sockets::OpenSockets;
use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;
use units::{ServiceLimits, SocketUnit, has_manager, obstacle, service_limits, socket_units};
use wasm_sock_config::{Access, Config, Environment, HandlerConfig, Http, Limits, Logged, Logging, WhenIdle};

/// Prints the summary, the tables and the warnings. `file` is the configuration, in place of the default ones.
///
/// # Errors
/// When the configuration is invalid; or the list of problems, if there are any.
pub fn run(file: Option<&Path>) -> Result<(), CommandError> {
    let environment = Environment::current(rustix::process::geteuid().is_root());
    let config = Config::load(file, &environment).map_err(CommandError::Configuration)?;
    let units = socket_units(&listening::expected(&config));
    let mut problems = Vec::new();
    let (mut names, unreadable) = config.handler_names();
    if let Some(error) = unreadable {
        problems.push(format!("cannot read {}: {error}", config.host.modules.display()));
    }
    names.extend(units.iter().map(|unit| unit.handler.clone()));
    let described = host_program::describe_handlers(file, &names)?;
    let mut rows = vec![["HANDLER", "GUEST", "MODULE", "LIMITS", "GRANTED"].map(String::from)];
    let mut speak_http = BTreeSet::new();
    for handler in &described {
        let settings = config.handler(&handler.name);
        rows.push(row(handler, &settings, &mut problems));
        if handler.is_http {
            speak_http.insert(handler.name.as_str());
        }
    }
    let is_default = file.is_none() && env::var_os("CONFIGURATION_DIRECTORY").is_none();
    let mut missing = Vec::new();
    if is_default && has_manager() {
        let open = OpenSockets::now();
        missing = listening::warnings(&config, &units, |listen| open.has(listen));
        missing.extend(outbound::warning(&config));
    }
    problems.extend(outbound::problems(&config));
    problems.extend(listening::problems(&config));
    problems.extend(schedules::problems(&config));
    print(&summary(&config, &names))?;
    if !names.is_empty() {
        print(&table(&rows))?;
    }
    if !units.is_empty() {
        print("\n")?;
        print(&table(&sockets(&units, &speak_http, &mut problems)))?;
    }
    let timers = schedules::rows(&config);
    if timers.len() > 1 {
        print("\n")?;
        print(&table(&timers))?;
    }
    if is_default {
        missing.extend(secrets::warnings(&config, &environment));
        missing.extend(stores::warnings(&config, &environment));
    }
    for warning in warnings(&config, &names, &units).into_iter().chain(missing) {
        print(&format!("\nwarning: {warning}\n"))?;
    }
    match problems.len() {
        0 => Ok(()),
        count => Err(CommandError::Failed(format!(
            "{count} problem{}\n  {}",
            if count == 1 { "" } else { "s" },
            problems.join("\n  ")
        ))),
    }
}

/// Warnings about limits that are too low for what the handlers may need, and about trigger limits of socket units. If
/// no socket unit is known, all handlers are taken to belong to one service.
fn warnings(config: &Config, names: &BTreeSet<String>, units: &[SocketUnit]) -> Vec<String> {
    let settings: BTreeMap<&str, _> = names.iter().map(|name| (name.as_str(), config.handler(name))).collect();
    let mut handlers: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for unit in units {
        let service = handlers.entry(&unit.service).or_default();
        service.insert(&unit.handler);
    }
    if units.is_empty() {
        handlers.insert("", settings.keys().copied().collect());
    }
    let services: Vec<ServiceHandlers<'_>> = handlers
        .into_iter()
        .map(|(service, handlers)| ServiceHandlers {
            name: service,
            limits: match service {
                "" => ServiceLimits::default(),
                service => service_limits(service),
            },
            handlers: handlers.into_iter().map(|name| (name, &*settings[name])).collect(),
            sockets: units
                .iter()
                .filter(|unit| unit.service == service)
                .map(|unit| unit.listens.len() as u64)
                .sum(),
        })
        .collect();
    let mut warnings = capacity::warnings(&services, &config.host);
    for unit in units.iter().filter(|unit| unit.has_trigger_limit) {
        warnings.push(format!(
            "{}: if the service keeps failing at its start, systemd closes the socket, and clients that wait are \
             disconnected (set TriggerLimitIntervalSec=0 in [Socket]; the host itself makes sure that it is not \
             started again and again)",
            unit.name
        ));
    }
    warnings
}

/// The table of sockets and their handlers. A socket that its handler cannot serve is added to `problems`.
fn sockets(units: &[SocketUnit], speak_http: &BTreeSet<&str>, problems: &mut Vec<String>) -> Vec<[String; 4]> {
    let mut rows = vec![["SOCKET", "LISTENS TO", "AS", "HANDLER"].map(String::from)];
    for unit in units {
        for (address, kind) in &unit.listens {
            if let Some(why) = obstacle(kind, speak_http.contains(unit.handler.as_str())) {
                problems.push(format!("{}: {address} ({kind}): {why}", unit.name));
            }
            rows.push([&unit.name, address, kind, &unit.handler].map(String::clone));
        }
    }
    rows
}

/// The settings of the whole host.
fn summary(config: &Config, names: &BTreeSet<String>) -> String {
    let mut text = String::new();
    match config.files.as_slice() {
        [] => text.push_str("configuration: none, the defaults apply\n"),
        files => {
            for file in files {
                let _ = writeln!(text, "configuration: {}", file.display());
            }
        }
    }
    let _ = writeln!(text, "modules: {}", config.host.modules.display());
    let idle = time(config.host.idle_timeout);
    let then = match config.host.when_idle {
        WhenIdle::Exit => "",
        WhenIdle::Park => " (then it parks)",
    };
    let _ = writeln!(
        text,
        "idle-timeout {idle}{then}, drain-timeout {:?}, stack {}, max-memory {}, max-connections {}",
        config.host.drain_timeout,
        size(config.host.stack.into()),
        match config.host.max_memory {
            None => "the machine's".to_owned(),
            Some(u64::MAX) => infinity(),
            Some(bytes) => size(bytes),
        },
        bound(config.host.max_connections),
    );
    if names.is_empty() {
        let _ = writeln!(
            text,
            "no handlers: put NAME.wasm into {}",
            config.host.modules.display()
        );
    }
    text.push('\n');
    text
}

/// The line of one handler in the table. What is wrong with it is added to `problems`.
fn row(handler: &HandlerDescription, settings: &HandlerConfig, problems: &mut Vec<String>) -> [String; 5] {
    let name = &handler.name;
    for dir in &settings.dirs {
        if let Err(error) = fs::read_dir(&dir.host) {
            problems.push(format!("{name}: dirs: {}: {error}", dir.host.display()));
        }
    }
    if let Some(reason) = &handler.error {
        problems.push(format!("{name}: {reason}"));
    }
    let kind = handler.kind.as_deref().unwrap_or("-").to_owned();
    let mut limits = limits(&settings.limits);
    if handler.is_http {
        limits.push_str(&http_limits(&settings.http));
    }
    limits.push_str(&logged(settings.logging));
    [name.clone(), kind, handler.module.clone(), limits, granted(settings)]
}

fn limits(limits: &Limits) -> String {
    format!(
        "memory {}, timeout {}, cpu-time {}, {} connections, {} per source, idle {}, output {}, \
         datagram {}, {} table elements, log {}",
        size(limits.memory),
        time(limits.timeout),
        time(limits.cpu_time),
        limits.max_connections,
        bound(limits.max_connections_per_source),
        time(limits.idle_connection_timeout),
        limits.max_output.map_or_else(infinity, size),
        size(limits.max_datagram.into()),
        limits.table_elements,
        bound(limits.max_log),
    )
}

fn bound(bound: Option<u32>) -> String {
    bound.map_or_else(infinity, |bound| bound.to_string())
}

fn infinity() -> String {
    "infinity".to_owned()
}

fn http_limits(http: &Http) -> String {
    format!(
        ", head {} in {}, body {}",
        size(http.max_head.into()),
        time(http.head_timeout),
        size(http.max_body)
    )
}

/// Which connections are logged, if not all.
fn logged(logging: Logging) -> String {
    let which = match logging.which {
        Logged::All if logging.sample == 1 => return String::new(),
        Logged::All => "all failures",
        Logged::Failures => return ", logs failures".to_owned(),
        Logged::None => return ", logs no connection".to_owned(),
    };
    format!(", logs {which} and 1 of {} others", logging.sample)
}

/// The capabilities of a handler's guests: directories, outbound connections, stores, names of variables, values and secrets.
pub fn granted(settings: &HandlerConfig) -> String {
    let mut grants = Vec::new();
    for dir in &settings.dirs {
        let access = match dir.access {
            Access::ReadOnly => "read-only",
            Access::ReadWrite => "read-write",
        };
        grants.push(format!("{} as {} ({access})", dir.host.display(), dir.guest));
    }
    for outbound in &settings.allow_outbound {
        grants.push(format!("connect to {outbound}"));
    }
    for store in &settings.keyvalue {
        grants.push(format!("store {} at {}", store.name, store.at));
    }
    if !settings.env.is_empty() {
        let names: Vec<&str> = settings.env.iter().map(|(name, _)| name.as_str()).collect();
        grants.push(format!("env {}", names.join(" ")));
    }
    if !settings.config.is_empty() {
        let keys: Vec<&str> = settings.config.iter().map(|(key, _)| key.as_str()).collect();
        grants.push(format!("config {}", keys.join(" ")));
    }
    if !settings.secrets.is_empty() {
        grants.push(format!("secrets {}", settings.secrets.join(" ")));
    }
    if grants.is_empty() {
        return "the connection only".to_owned();
    }
    grants.join(", ")
}

fn time(time: Option<Duration>) -> String {
    time.map_or_else(infinity, |time| format!("{time:?}"))
}

/// A number of bytes in the largest unit in which it is whole: `64MiB`.
fn size(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (shift, unit) in UNITS {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Aligns columns, two spaces apart.
fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let mut widths = [0; COLUMNS];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            let _ = write!(line, "{cell:width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text
}
