//! From the command line to a change that is known to be possible, or to everything that is wrong with it.

use super::arguments::Install;
use super::before::Before;
use super::checks::{service, units as known};
use super::knock::{self, Skip};
use super::module::{self, Module, Source};
use super::units;
use super::{handler_file, settings};
use crate::installation::change::Change;
use crate::installation::record::{Installed, Record};
use crate::installation::scope::Scope;
use crate::installation::systemd::Manager;
use crate::manual;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use wasm_sock_config::{Config, HandlerConfig, Listen, Process};
use wasm_sock_units::{EGRESS, Unit};

/// What is asked for, and where it is prepared.
pub struct Request<'a> {
    pub arguments: &'a Install,
    pub name: &'a str,
    pub source: &'a Source,
    pub scope: &'a Scope,
    /// The folder for new files.
    pub folder: &'a Path,
    /// What is installed under this name.
    pub former: Option<&'a Record>,
    /// Folders that were made for this command.
    pub made: Vec<PathBuf>,
}

/// A change, and what is said of it.
#[derive(Debug)]
pub struct Plan {
    pub change: Change,
    pub config: HandlerConfig,
    pub kind: String,
    pub is_http: bool,
    /// Is a service of this name there already?
    pub is_update: bool,
    /// The handler's file, if it changes.
    pub new_settings: Option<String>,
    pub units: Vec<Unit>,
    /// The services that serve it; patterns, where there is one for each connection.
    pub services: Vec<String>,
    /// Where to knock, or why not.
    pub door: Result<Listen, Skip>,
}

/// Checks everything and plans the change. Changes nothing, but for new files in `request.folder`.
///
/// # Errors
/// All problems.
pub fn plan(request: &Request<'_>) -> Result<Plan, Vec<String>> {
    let Request {
        name, scope, arguments, ..
    } = *request;
    let mut problems: Vec<String> = missing_generator(scope).into_iter().collect();
    let before = scope.with_environment(|environment| Config::load_for_units(None, environment).0);
    let modules = before.host.modules.clone();
    let interrupts = &scope.systemd.interrupts;
    let module = module::prepare(request.source, name, &modules, request.folder, interrupts);
    let module = module.map_err(|why| problems.push(why)).ok();
    problems.extend(handler_file::strange(request, &modules, module.as_ref()));
    let file = handler_file::path(&scope.places, name);
    let former_text = fs::read_to_string(&file).ok();
    let schema = manual::installed_schema();
    let text = match settings::changed(former_text.as_deref(), name, arguments, schema.as_deref()) {
        Ok(text) => text,
        Err(why) => {
            problems.push(format!("{}: {why}", file.display()));
            return Err(problems);
        }
    };
    let (config, mistakes) = handler_file::read(request, &text, &file).map_err(|why| vec![why])?;
    problems.extend(mistakes);
    let before = match Before::ask(request, before, &config) {
        Ok(before) => before,
        Err(why) => {
            problems.push(why);
            return Err(problems);
        }
    };
    problems.extend(before.problems(name, &config, module.as_ref()));
    problems.extend(service::problems(name, &config, scope));
    match (module, problems.is_empty()) {
        (Some(module), true) => {
            let new_settings = Some(text).filter(|text| former_text.as_ref() != Some(text));
            assemble(request, &before, config, module, new_settings).map_err(|why| vec![why])
        }
        _ => Err(problems),
    }
}

fn missing_generator(scope: &Scope) -> Option<String> {
    let why = "the generator of units is not installed: systemd would not see the service (install all of wasm-sock: \
               `make install`)";
    (!known::has_generator(scope.systemd.user)).then(|| why.to_owned())
}

/// The change itself.
fn assemble(
    request: &Request<'_>,
    before: &Before,
    config: HandlerConfig,
    module: Module,
    new_settings: Option<String>,
) -> Result<Plan, String> {
    let Request {
        name, scope, arguments, ..
    } = *request;
    let file = handler_file::path(&scope.places, name);
    let services = units::services(name, &config);
    let mut change = unit_change(before, arguments.no_start);
    let former = before.config.handlers.get(name);
    // The handler's units want it when they start; those of an update run already.
    if config.reaches_out() && config.enabled && !arguments.no_start && !before.is_active(EGRESS) {
        change.start.insert(0, EGRESS.to_owned());
    }
    tell_services(&mut change, request, before, &config, new_settings.is_some())?;
    change.files = module.files;
    if let Some(text) = &new_settings {
        let staged = request.folder.join("settings.toml");
        handler_file::stage(&staged, &file, text, &config, former, scope)?;
        change.files.push((file.clone(), Some(staged)));
    }
    let folders: BTreeSet<PathBuf> = change
        .files
        .iter()
        .flat_map(|(path, _)| missing_folders(path))
        .collect();
    change.folders = folders.into_iter().collect();
    change.record = record(request, before, &change, &services)?;
    let door = match () {
        () if arguments.no_knock => Err(Skip::Unwanted),
        () if arguments.no_start || !config.enabled => Err(Skip::Asleep),
        () => knock::door(&config, module.is_http).cloned(),
    };
    Ok(Plan {
        change,
        kind: module.kind,
        is_http: module.is_http,
        is_update: request.former.is_some() || former.is_some(),
        new_settings,
        units: before.new_units.clone(),
        services,
        door,
        config,
    })
}

/// Which running services are stopped or reloaded.
fn tell_services(
    change: &mut Change,
    request: &Request<'_>,
    before: &Before,
    config: &HandlerConfig,
    has_new_settings: bool,
) -> Result<(), String> {
    let active = |services: &[String]| -> Result<Vec<String>, String> {
        Ok(request.scope.systemd.active(services)?.into_iter().collect())
    };
    if !change.stop.is_empty() {
        let former = before.config.handlers.get(request.name);
        // These have one connection each, and no socket that others connect to.
        if former.is_some_and(|former| former.process == Process::Connection) {
            return Ok(());
        }
        change.restart = active(&former.map_or_else(Vec::new, |former| units::services(request.name, former)))?;
        return Ok(());
    }
    // A new socket has the service handed over: it is started again.
    let is_handed_over = change.start.iter().any(|unit| unit.ends_with(".socket"));
    if has_new_settings && config.process != Process::Connection && !is_handed_over {
        change.reload = active(&units::services(request.name, config))?;
    }
    Ok(())
}

/// Which units are stopped and started.
fn unit_change(before: &Before, no_start: bool) -> Change {
    let (old, new) = (&before.units, &before.new_units);
    let is_in = |unit: &Unit, units: &[Unit]| units.iter().any(|other| units::is_same(unit, other));
    let is_active = |unit: &&Unit| before.is_active(&unit.name);
    let names = |units: Vec<&Unit>| units.into_iter().map(|unit| unit.name.clone()).collect::<Vec<_>>();
    let stop: Vec<&Unit> = units::started(old)
        .filter(is_active)
        .filter(|unit| !is_in(unit, new))
        .collect();
    let is_started = |unit: &&Unit| {
        // The other sockets of a handler stop with its first one.
        !no_start && (!stop.is_empty() || !is_active(unit) || !is_in(unit, old))
    };
    Change {
        start: names(units::started(new).filter(is_started).collect()),
        were_active: names(units::started(old).filter(is_active).collect()),
        stop: names(stop),
        ..Change::default()
    }
}

/// The folders above a file that are missing.
fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().skip(1);
    above
        .take_while(|folder| !folder.exists())
        .map(Path::to_owned)
        .collect()
}

fn record(request: &Request<'_>, before: &Before, change: &Change, services: &[String]) -> Result<Record, String> {
    let name = request.name;
    let settings = handler_file::path(&request.scope.places, name);
    let module = |form: &str| before.config.host.modules.join(format!("{name}.{form}"));
    let mut files = Vec::new();
    for path in [module("wasm"), module("cwasm"), settings.clone()] {
        let now = match change.files.iter().find(|(changed, _)| *changed == path) {
            Some((_, Some(new))) => new,
            Some((_, None)) => continue,
            None if path.exists() => &path,
            None => continue,
        };
        files.push(Installed::from(now, &path).map_err(|error| format!("{}: {error}", now.display()))?);
    }
    let former = request.former.cloned().unwrap_or_default();
    // People have changed the settings since: what they wrote must outlive an uninstall.
    let is_edited = former
        .files
        .iter()
        .any(|file| file.path == settings && !file.is_there());
    let mut folders = [former.folders, request.made.clone(), change.folders.clone()].concat();
    folders.sort();
    folders.dedup();
    Ok(Record {
        handler: name.to_owned(),
        is_adopted: former.is_adopted || is_edited || (request.former.is_none() && settings.exists()),
        files,
        settings,
        folders,
        units: units::started(&before.new_units)
            .map(|unit| unit.name.clone())
            .collect(),
        services: services.to_owned(),
    })
}
