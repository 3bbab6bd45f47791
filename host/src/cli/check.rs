//! `wasm-sock check`: everything that could go wrong at three in the morning, now.

mod promises;
mod units;

use self::promises::Process;
use self::units::{ServiceLimits, SocketUnit, obstacle, service_limits, socket_units};
use super::{Failure, load_config, print};
use crate::config::{Access, Config, HandlerConfig, Http, Limits};
use crate::module::{CurrentProgram, Files};
use crate::runtime::Engines;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

/// # Errors
/// The configuration's, or how many handlers would not work.
pub fn run(file: Option<&Path>) -> Result<(), Failure> {
    let config = load_config(file).map_err(Failure::Configuration)?;
    let engines = Engines::new(config.host.stack).map_err(|error| Failure::Failed(format!("{error:#}")))?;
    let units = socket_units();
    let mut problems = Vec::new();
    let mut names = names(&config, &mut problems);
    names.extend(units.iter().map(|unit| unit.handler.clone()));
    let mut rows = vec![["HANDLER", "GUEST", "MODULE", "LIMITS", "GRANTED"].map(String::from)];
    let mut speak_http = BTreeSet::new();
    for name in &names {
        let settings = config.handler(name);
        let (row, is_http) = row(name, &settings, &config, &engines, &mut problems)?;
        rows.push(row);
        if is_http {
            speak_http.insert(name.as_str());
        }
    }
    print(&summary(&config, &names))?;
    if !names.is_empty() {
        print(&table(&rows))?;
    }
    if !units.is_empty() {
        print("\n")?;
        print(&table(&sockets(&units, &speak_http, &mut problems)))?;
    }
    for warning in warnings(&config, &names, &units) {
        print(&format!("\nwarning: {warning}\n"))?;
    }
    match problems.len() {
        0 => Ok(()),
        count => Err(Failure::Failed(format!(
            "{count} problem{}\n  {}",
            if count == 1 { "" } else { "s" },
            problems.join("\n  ")
        ))),
    }
}

/// What the processes of these handlers may need and cannot have. Where no socket unit is known, all
/// handlers are taken to be one process's.
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
    let processes: Vec<Process<'_>> = handlers
        .into_iter()
        .map(|(service, handlers)| Process {
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
    let mut warnings = promises::warnings(&processes, &config.host);
    for unit in units.iter().filter(|unit| unit.has_trigger_limit) {
        warnings.push(format!(
            "{}: a service that fails at its start is started again until systemd gives the socket up, with all who \
             wait there (set TriggerLimitIntervalSec=0 in [Socket]; the host sees to it that it is not started all \
             the time)",
            unit.name
        ));
    }
    warnings
}

/// Which socket leads to which handler. What cannot come through goes to `problems`.
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

/// The handlers that are configured, and those that are only a file in the module directory.
pub(super) fn names(config: &Config, problems: &mut Vec<String>) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = config.handlers.keys().cloned().collect();
    let folder = &config.host.modules;
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Handlers may have all their modules elsewhere.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return names,
        Err(error) => {
            problems.push(format!("cannot read {}: {error}", folder.display()));
            return names;
        }
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let extension = path.extension().and_then(|extension| extension.to_str());
        if let Some(name) = path.file_stem().and_then(|stem| stem.to_str())
            && matches!(extension, Some("wasm" | "cwasm"))
            && !name.starts_with('.')
        {
            names.insert(name.to_owned());
        }
    }
    names
}

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
    let _ = writeln!(
        text,
        "idle-timeout {idle}, drain-timeout {:?}, stack {}, max-memory {}, max-connections {}",
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

/// One handler's line, and whether it speaks HTTP. What is wrong with it goes to `problems`.
fn row(
    name: &str,
    settings: &HandlerConfig,
    config: &Config,
    engines: &Engines,
    problems: &mut Vec<String>,
) -> Result<([String; 5], bool), Failure> {
    let files = Files::of(name, settings, &config.host.modules);
    let path = if files.stamp().prefers_cwasm() {
        &files.cwasm
    } else {
        &files.wasm
    };
    let module = path.display().to_string();
    for dir in &settings.dirs {
        if let Err(error) = fs::read_dir(&dir.host) {
            problems.push(format!("{name}: dirs: {}: {error}", dir.host.display()));
        }
    }
    let program = CurrentProgram::new(name.into(), Ok(files));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (kind, is_http) = match runtime.block_on(program.try_load(engines)) {
        Ok(program) => (program.kind().to_owned(), program.is_http()),
        Err(reason) => {
            problems.push(format!("{name}: {reason}"));
            ("-".to_owned(), false)
        }
    };
    let mut limits = limits(&settings.limits);
    if is_http {
        limits.push_str(&http_limits(&settings.http));
    }
    let row = [name.to_owned(), kind, module, limits, granted(settings)];
    Ok((row, is_http))
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

fn granted(settings: &HandlerConfig) -> String {
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
    if !settings.env.is_empty() {
        let names: Vec<&str> = settings.env.iter().map(|(name, _)| name.as_str()).collect();
        grants.push(format!("env {}", names.join(" ")));
    }
    if grants.is_empty() {
        return "the connection only".to_owned();
    }
    grants.join(", ")
}

fn time(time: Option<Duration>) -> String {
    time.map_or_else(infinity, |time| format!("{time:?}"))
}

fn size(bytes: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (shift, unit) in UNITS {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// Columns as wide as they must be, two spaces apart.
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
