//! `wasm-sock status NAME`: prints all there is to tell of a handler.

use crate::columns::{self, Screen};
use crate::handlers::{Handler, HandlerJson, Handlers};
use crate::host_program::{self, HandlerDescription};
use crate::logs::{self, Query};
use crate::scope::Scope;
use crate::{CommandError, check, list, print};
use serde::Serialize;
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::path::Path;
use wasm_sock_stats::BOUNDS;

/// The arguments of `wasm-sock status`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
pub struct Status {
    /// The handler
    #[arg(value_name = "NAME")]
    name: String,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    scope: Scope,
}

/// The most log lines that are printed.
const LINES: usize = 10;

/// Prints the state of a handler.
///
/// # Errors
/// When there is no such handler, or the counters cannot be read.
pub fn run(arguments: &Status) -> Result<(), CommandError> {
    let found = Handlers::collect(arguments.scope)?;
    let names: Vec<&str> = found.handlers.iter().map(|handler| handler.name.as_str()).collect();
    let Some(handler) = found.handlers.iter().find(|handler| handler.name == arguments.name) else {
        return Err(unknown(&arguments.name, &names, arguments.scope));
    };
    let module = found.config.as_ref().and_then(|_| describe(&handler.name));
    let version = module.as_ref().and_then(|module| hash(Path::new(&module.module)).ok());
    let granted = found
        .config
        .as_ref()
        .map(|config| check::granted(&config.handler(&handler.name)));
    if arguments.json {
        let status = StatusJson {
            handler: handler.into(),
            module: module.as_ref().map(|module| module.module.as_str()),
            module_sha256: version.as_deref(),
            kind: module.as_ref().and_then(|module| module.kind.as_deref()),
            module_error: module.as_ref().and_then(|module| module.error.as_deref()),
            granted: granted.as_deref(),
        };
        let json = serde_json::to_string(&status).map_err(|error| CommandError::Failed(error.to_string()))?;
        return print(&(json + "\n"));
    }
    let screen = Screen::of_stdout();
    let mut text = head(handler, screen);
    module_lines(&mut text, module.as_ref(), version.as_deref());
    line(&mut text, "Granted", granted.as_deref().unwrap_or("-"));
    numbers(&mut text, handler);
    for mistake in mistakes_of(&found, &handler.name) {
        line(&mut text, "Mistake", &mistake);
    }
    print(&text)?;
    let query = Query::last(&handler.name, LINES, arguments.scope);
    match logs::read(&query) {
        Ok(entries) if entries.is_empty() => Ok(()),
        Ok(entries) => {
            let lines: String = entries.iter().map(|entry| entry.text(screen) + "\n").collect();
            print(&format!("\n{lines}"))
        }
        Err(error) => print(&format!("\n{error}\n")),
    }
}

/// The error for a name that no handler has.
pub fn unknown(name: &str, names: &[&str], scope: Scope) -> CommandError {
    let whose = if scope.is_user() {
        "of yours (see --system)"
    } else {
        "of the system (see --user)"
    };
    let list = match names {
        [] => "there is none".to_owned(),
        names if names.len() > 8 => "see `wasm-sock list`".to_owned(),
        names => format!("there are {}", names.join(", ")),
    };
    CommandError::Failed(format!("no handler {whose} has the name {name:?}: {list}"))
}

#[derive(Serialize)]
struct StatusJson<'a> {
    #[serde(flatten)]
    handler: HandlerJson<'a>,
    module: Option<&'a str>,
    /// Of the file, in hexadecimal digits.
    module_sha256: Option<&'a str>,
    kind: Option<&'a str>,
    module_error: Option<&'a str>,
    granted: Option<&'a str>,
}

fn mistakes_of(found: &Handlers, name: &str) -> Vec<String> {
    let of_it = found
        .mistakes
        .iter()
        .filter(|error| error.handler.as_deref().is_none_or(|handler| handler == name));
    of_it.map(ToString::to_string).collect()
}

/// The module, as the host sees it. `None`: the host cannot be run.
fn describe(name: &str) -> Option<HandlerDescription> {
    let names = BTreeSet::from([name.to_owned()]);
    host_program::describe_handlers(None, &names).ok()?.pop()
}

/// The SHA-256 of a file.
fn hash(path: &Path) -> io::Result<String> {
    let (mut file, mut hash) = (File::open(path)?, Sha256::new());
    let mut buffer = vec![0; 1 << 16];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => break,
            count => hash.update(&buffer[..count]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn line(text: &mut String, name: &str, value: &str) {
    // Writing to a string does not fail.
    for (place, value) in value.lines().enumerate() {
        let _ = writeln!(
            text,
            "{:>10}{} {value}",
            if place == 0 { name } else { "" },
            if place == 0 { ":" } else { " " }
        );
    }
}

fn head(handler: &Handler, screen: Screen) -> String {
    let now = wasm_sock_stats::now();
    let state = list::state(handler, now);
    let mut text = format!("{}: {}\n", handler.name, screen.paint(state.color, &state.text));
    for address in &handler.addresses {
        line(&mut text, "Listens", address);
    }
    for (unit, state) in &handler.sockets {
        let state = if state.is_empty() { "not loaded" } else { state };
        line(&mut text, "Socket", &format!("{unit} ({state})"));
    }
    let pids: Vec<String> = handler.counters.hosts.iter().map(|host| host.pid.to_string()).collect();
    match &pids[..] {
        [] => {}
        pids if pids.len() > 8 => line(&mut text, "Hosts", &format!("{} processes", pids.len())),
        pids => line(&mut text, "Hosts", &format!("PID {}", pids.join(" "))),
    }
    if handler.counters.hosts.iter().any(|host| host.reload_failed) {
        line(
            &mut text,
            "Reload",
            "failed: it serves with the settings from before (see the log)",
        );
    }
    if let Some(usage) = handler.usage {
        let (memory, cpu) = (columns::bytes(usage.memory), columns::cpu(usage.cpu_usec));
        line(&mut text, "Service", &format!("memory {memory}, CPU {cpu}"));
    }
    text
}

fn module_lines(text: &mut String, module: Option<&HandlerDescription>, version: Option<&str>) {
    let Some(module) = module else {
        return line(
            text,
            "Module",
            "- (the host cannot be run, or the configuration is invalid)",
        );
    };
    let version = version.map_or_else(String::new, |hash| format!(" ({})", &hash[..12]));
    line(text, "Module", &format!("{}{version}", module.module));
    match (&module.kind, &module.error) {
        (_, Some(error)) => line(text, "Error", error),
        (Some(kind), None) => line(text, "Guest", kind),
        (None, None) => {}
    }
}

fn numbers(text: &mut String, handler: &Handler) {
    let counters = &handler.counters;
    let ago = |time: u64| columns::span(wasm_sock_stats::now().saturating_sub(time));
    let last = match counters.last_client {
        0 => "never".to_owned(),
        time => format!("{} ago", ago(time)),
    };
    line(
        text,
        "Client",
        &format!(
            "{last}, {} now, activations: {}",
            counters.in_flight, counters.activations
        ),
    );
    let since = match counters.created {
        0 => String::new(),
        time => format!(" in {}", ago(time)),
    };
    line(
        text,
        "Served",
        &format!("{}{since}, {} failed", counters.served(), counters.failed()),
    );
    for (kind, count) in handler.failures() {
        line(text, "", &format!("{count} {kind}"));
    }
    let (bytes_in, bytes_out) = (columns::bytes(counters.bytes_in), columns::bytes(counters.bytes_out));
    let (cpu, peak) = (columns::cpu(counters.cpu / 1_000), columns::bytes(counters.memory_peak));
    line(
        text,
        "Used",
        &format!("{bytes_in} in, {bytes_out} out, guests: CPU {cpu}, memory peak {peak}"),
    );
    if let (Some(half), Some(most)) = (quantile(handler, 50), quantile(handler, 99)) {
        line(text, "Duration", &format!("half of them {half}, 99% {most}"));
    }
    if counters.lines_dropped > 0 {
        line(
            text,
            "Log",
            &format!("{} lines dropped (max-log)", counters.lines_dropped),
        );
    }
}

/// The bound that so many percent of the durations are within. `None`: there are none.
fn quantile(handler: &Handler, percent: u64) -> Option<String> {
    let histogram = &handler.counters.duration;
    let wanted = (u128::from(histogram.count()) * u128::from(percent)).div_ceil(100);
    if wanted == 0 {
        return None;
    }
    let mut count = 0;
    for (place, more) in histogram.buckets.into_iter().enumerate() {
        count += u128::from(more);
        if count >= wanted {
            return Some(match BOUNDS.get(place) {
                Some(bound) => format!("within {}", columns::cpu(*bound)),
                None => "longer than a minute".to_owned(),
            });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_bound_that_it_is_within() {
        let mut handler = Handler::default();
        assert_eq!(quantile(&handler, 50), None);
        handler.counters.duration.buckets[1] = 99;
        handler.counters.duration.buckets[12] = 1;
        assert_eq!(quantile(&handler, 50).unwrap(), "within 500us");
        assert_eq!(quantile(&handler, 99).unwrap(), "within 500us");
        assert_eq!(quantile(&handler, 100).unwrap(), "longer than a minute");
    }
}
