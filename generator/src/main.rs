//! Makes systemd units of the handlers with `listen` or `schedule`: systemd.generator(7).
//!
//! systemd runs it at boot, before any unit, and at each `daemon-reload`, as the system's manager or as a user's. A
//! mistake in a file costs the units of its handler only; it is reported, and the exit code is 0 all the same.

mod output;
mod report;
mod scope;

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use wasm_sock_config::{Config, Environment};
use wasm_sock_units::{Unit, sockets, units_of};

use output::Output;
use report::Report;
use scope::Scope;

const USAGE: &str = "\
wasm-sock-generator: usage: wasm-sock-generator NORMAL-DIR [EARLY-DIR LATE-DIR]
systemd runs this at boot and at daemon-reload. To see the units that it would
make: mkdir /tmp/units && wasm-sock-generator /tmp/units";

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().collect();
    let [program, normal, rest @ ..] = arguments.as_slice() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    if !matches!(rest.len(), 0 | 2) || !Path::new(normal).is_absolute() {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    let scope = Scope::find(Path::new(program), &|name| env::var_os(name));
    let normal = Path::new(normal);
    // A person names another folder, and reads standard error.
    let mut report = Report::open(!scope.is_user && normal.starts_with("/run/systemd"));
    generate(&scope, normal, &mut report);
    report.finish();
    ExitCode::SUCCESS
}

/// Writes the units of all handlers below `folder`.
fn generate(scope: &Scope, folder: &Path, report: &mut Report) {
    let environment = Environment {
        user_manager: scope.is_user,
        variable: &|name| match name {
            // Those of a service that a person calls this from.
            "CONFIGURATION_DIRECTORY" | "STATE_DIRECTORY" => None,
            _ => env::var_os(name),
        },
    };
    let (config, errors) = Config::load_for_units(None, &environment);
    for error in &errors {
        report.mistake(&error.to_string());
    }
    let taken = taken(&config, report);
    let written = scope.written_units();
    let mut output = Output::new(folder);
    for (name, handler) in &config.handlers {
        let units = match units_of(name, handler, scope.installation()) {
            Ok(units) => units,
            Err(error) => {
                let location = handler.location.as_ref().map_or(String::new(), |at| format!("{at}: "));
                report.mistake(&format!("{location}handler {name:?}: {error} (choose another name)"));
                continue;
            }
        };
        let wanted =
            |unit: &&Unit| !written.contains(&unit.name) && !taken.contains(&(name.as_str(), unit.name.clone()));
        for unit in units.iter().filter(wanted) {
            if let Err(error) = output.write(unit) {
                report.mistake(&format!("cannot write {} in {}: {error}", unit.name, folder.display()));
            }
        }
    }
}

/// The socket units whose address another handler has, which is reported.
fn taken<'a>(config: &'a Config, report: &mut Report) -> Vec<(&'a str, String)> {
    let mut taken = Vec::new();
    for clash in config.clashes() {
        let (loser, winner) = (&config.handlers[clash.handler], &config.handlers[clash.winner]);
        let at = |handler: &wasm_sock_config::HandlerConfig| match &handler.location {
            Some(location) => format!(" ({location})"),
            None => String::new(),
        };
        report.mistake(&format!(
            "handler {:?}{} does not get {:?}: handler {:?}{} has {:?} (remove one)",
            clash.handler,
            at(loser),
            clash.listen.to_string(),
            clash.winner,
            at(winner),
            clash.winners.to_string(),
        ));
        let unit = sockets(clash.handler, loser)
            .into_iter()
            .find(|(_, listen)| *listen == clash.listen);
        taken.extend(unit.map(|(unit, _)| (clash.handler, unit)));
    }
    taken
}
