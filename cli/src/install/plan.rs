//! From the command line to a change that is known to be possible, or to everything that is wrong with it.

use super::arguments::Install;
use super::checks::{folders, ports, units as known};
use super::knock::{self, Skip};
use super::module::{self, Module, Source};
use super::units::{self, Unit};
use super::{handler_file, settings};
use crate::installation::change::Change;
use crate::installation::durable;
use crate::installation::record::{Installed, Record};
use crate::installation::scope::Scope;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use wasm_sock_config::{Config, Environment, HandlerConfig, Listen, ListenKind};

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
    pub service: String,
    /// Where to knock, or why not.
    pub door: Result<Listen, Skip>,
}

/// The state before the change.
struct Before {
    /// All handlers.
    config: Config,
    /// The units of this one.
    units: Vec<Unit>,
    /// The sockets and this handler's units, as systemd knows them.
    known: Vec<known::Unit>,
}

/// Checks everything and plans the change. Changes nothing, but for new files in `request.folder`.
///
/// # Errors
/// All problems.
pub fn plan(request: &Request<'_>) -> Result<Plan, Vec<String>> {
    let mut problems = Vec::new();
    let Request { name, scope, arguments, .. } = *request;
    if !known::has_generator(scope.systemd.user) {
        problems.push(
            "the generator of units is not installed: systemd would not see the service (install all of wasm-sock: \
             `make install`)"
                .to_owned(),
        );
    }
    let before = scope.with_environment(|environment| Config::load_for_units(None, environment).0);
    let modules = before.host.modules.clone();

    let module = module::prepare(request.source, name, &modules, request.folder, &scope.systemd.interrupts);
    let module = module.map_err(|why| problems.push(why)).ok();
    problems.extend(strange_files(request, &modules, module.as_ref()));
    let file = handler_file(&scope.places, name);
    let former_text = fs::read_to_string(&file).ok();
    let text = settings::changed(former_text.as_deref(), name, arguments);
    let text = text.map_err(|why| problems.push(format!("{}: {why}", file.display()))).ok();
    let Some(text) = text else {
        return Err(problems);
    };
    let (config, mistakes) = read(request, &text, &file).map_err(|why| vec![why])?;
    problems.extend(mistakes);
    let before = match Before::ask(request, before, &config) {
        Ok(before) => before,
        Err(why) => {
            problems.push(why);
            return Err(problems);
        }
    };
    problems.extend(before.problems(name, &config, module.as_ref()));
    problems.extend(service_problems(request, &config));
    match (module, problems.is_empty()) {
        (Some(module), true) => {
            let new_settings = Some(text).filter(|text| former_text.as_ref() != Some(text));
            assemble(request, &before, config, module, new_settings).map_err(|why| vec![why])
        }
        _ => Err(problems),
    }
}

/// Reads the new settings as the host will, from a copy beside the main file. Also returns all mistakes in them; then
/// the settings are those that can be read.
fn read(request: &Request<'_>, text: &str, file: &Path) -> Result<(HandlerConfig, Vec<String>), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", request.folder.display());
    let (folder, name) = (request.folder.join("check"), request.name);
    let (main, copy) = (folder.join("wasm-sock.toml"), folder.join("handlers.d").join(format!("{name}.toml")));
    durable::make_folder(&folder.join("handlers.d"), 0o700).map_err(failed)?;
    fs::write(&copy, text).map_err(failed)?;
    let real_main = request.scope.places.configuration.join("wasm-sock.toml");
    match real_main.exists() {
        true => std::os::unix::fs::symlink(&real_main, &main).map_err(failed)?,
        false => fs::write(&main, "").map_err(failed)?,
    }
    let load = |environment: &Environment<'_>| Config::load_for_units(Some(&main), environment);
    let (config, mistakes) = request.scope.with_environment(load);
    let concerns = |handler: &Option<String>| handler.as_deref().is_none_or(|handler| handler == name);
    let mistakes = mistakes.into_iter().filter(|mistake| concerns(&mistake.handler));
    let mistakes = mistakes.map(|mistake| {
        let excerpt = mistake.excerpt.as_ref().map_or(String::new(), |excerpt| format!("\n{excerpt}"));
        let message = format!("{mistake}{excerpt}");
        let message = message.replace(&copy.display().to_string(), &file.display().to_string());
        message.replace(&main.display().to_string(), &real_main.display().to_string())
    });
    Ok((config.handler(name).into_owned(), mistakes.collect()))
}

/// Files of this name that `install` did not write.
fn strange_files(request: &Request<'_>, modules: &Path, module: Option<&Module>) -> Vec<String> {
    if request.arguments.yes || request.former.is_some() {
        return Vec::new();
    }
    let name = request.name;
    let file = handler_file(&request.scope.places, name);
    let mut strange = Vec::new();
    if fs::symlink_metadata(&file).is_ok() {
        strange.push(format!(
            "{}: `install` did not write it (--yes changes it and keeps what is in it; or choose another --name)",
            file.display()
        ));
    }
    let is_replaced = module.is_none_or(|module| !module.files.is_empty());
    for form in ["wasm", "cwasm"] {
        let path = modules.join(format!("{name}.{form}"));
        if is_replaced && fs::symlink_metadata(&path).is_ok() {
            strange.push(format!(
                "{}: `install` did not write it (--yes replaces it; or choose another --name)",
                path.display()
            ));
        }
    }
    strange
}

/// What concerns the service: its user's rights, and its times.
fn service_problems(request: &Request<'_>, config: &HandlerConfig) -> Vec<String> {
    let systemd = &request.scope.systemd;
    let mut problems = Vec::new();
    for calendar in &config.schedule.calendar {
        let mut analyze = std::process::Command::new("systemd-analyze");
        analyze.args(["calendar", "--", calendar]);
        let result = crate::installation::program::run(&mut analyze, "", &systemd.interrupts);
        problems.extend(result.err().map(|why| {
            let why = why.lines().next().unwrap_or_default().to_owned();
            format!("schedule: {why} (see systemd.time(7); try: systemd-analyze calendar daily)")
        }));
    }
    // Of a handler with a process for each connection, the service is generated, with the same user.
    let service = match config.process {
        wasm_sock_config::Process::Connection => units::service(request.name, wasm_sock_config::Process::Own),
        process => units::service(request.name, process),
    };
    let user = match known::user_of(systemd, &service) {
        Ok(Some(user)) => user,
        Ok(None) => {
            problems.push(format!("{service} is not installed (install all of wasm-sock: `make install`)"));
            return problems;
        }
        Err(why) => return vec![why],
    };
    if config.dirs.is_empty() {
        return problems;
    }
    if systemd.user || user.user.is_empty() || !rustix::process::geteuid().is_root() {
        problems.extend(folders::problems(&config.dirs, None));
        return problems;
    }
    match folders::User::find(&user.user, &user.group, &user.groups, &systemd.interrupts) {
        Ok(user) => problems.extend(folders::problems(&config.dirs, Some(&user))),
        Err(why) => problems.push(format!("the service's user: {why} (install all of wasm-sock: `make install`)")),
    }
    problems
}

impl Before {
    fn ask(request: &Request<'_>, config: Config, new: &HandlerConfig) -> Result<Self, String> {
        let former = config.handlers.get(request.name);
        let units = former.map_or_else(Vec::new, |former| units::of(request.name, former));
        let mut names: Vec<String> = units::of(request.name, new).into_iter().map(|unit| unit.name).collect();
        names.extend(units.iter().map(|unit| unit.name.clone()));
        names.push("*.socket".to_owned());
        names.sort();
        names.dedup();
        let known = known::units(&request.scope.systemd, &names)?;
        Ok(Self { config, units, known })
    }

    /// What concerns addresses and units.
    fn problems(&self, name: &str, config: &HandlerConfig, module: Option<&Module>) -> Vec<String> {
        let mut problems = Vec::new();
        if config.enabled && config.listen.is_empty() && config.schedule.calendar.is_empty() {
            problems.push("it has no address (give it one: --listen 7000; or a --schedule)".to_owned());
        }
        for unit in units::of(name, config) {
            let known = self.known.iter().find(|known| known.name == unit.name);
            if let Some(known) = known.filter(|known| known.is_by_hand()) {
                problems.push(match known.is_masked {
                    true => format!("{0} is masked (systemctl unmask {0}; or choose another --name)", unit.name),
                    false => format!(
                        "{}: a unit that people wrote; systemd takes it and not `listen` (remove it, or choose another \
                         --name)",
                        known.file.display()
                    ),
                });
            }
        }
        if !config.enabled {
            return problems;
        }
        let former = self.config.handlers.get(name).filter(|former| former.enabled);
        for listen in &config.listen {
            if module.is_some_and(|module| module.is_http) && !is_stream(listen.kind) {
                problems.push(format!(
                    "listen {listen}: the module answers HTTP, which needs a stream (as --listen 8080)"
                ));
            }
            let has_it = |former: &HandlerConfig| former.listen.iter().any(|old| old.canonical() == listen.canonical());
            if !former.is_some_and(has_it) {
                problems.extend(self.obstacle(name, listen, config));
            }
        }
        problems
    }

    /// Why a new address cannot be listened at.
    fn obstacle(&self, name: &str, listen: &Listen, config: &HandlerConfig) -> Option<String> {
        let mut all = self.config.clone();
        all.handlers.insert(name.to_owned(), config.clone());
        let clashes = all.clashes();
        let is_new = |handler: &str, other: &Listen| handler == name && other == listen;
        let others = clashes.iter().find_map(|clash| {
            if is_new(clash.handler, clash.listen) {
                return Some(clash.winner);
            }
            is_new(clash.winner, clash.winners).then_some(clash.handler)
        });
        let choose = "choose another address";
        if let Some(other) = others {
            return Some(format!("listen {listen}: handler {other:?} has this address ({choose})"));
        }
        let processes = match ports::obstacle(listen, config)? {
            ports::Obstacle::Other(why) => return Some(format!("listen {listen}: {why}")),
            ports::Obstacle::Taken(processes) => processes,
        };
        if let Some(unit) = known::listening_at(listen, &self.known) {
            // This handler's former address, such as 7000 where the new one is 127.0.0.1:7000.
            let is_own = self.units.iter().any(|own| own.name == unit.name);
            let how = format!("systemctl stop {}, or {choose}", unit.name);
            return (!is_own).then(|| format!("listen {listen}: {} has this address ({how})", unit.name));
        }
        let holders: Vec<String> = processes.iter().map(|p| format!("{} (process {})", p.name, p.pid)).collect();
        Some(match holders.as_slice() {
            [] => format!("listen {listen}: a process of another user has this address ({choose})"),
            holders => format!("listen {listen}: {} has this address (end it, or {choose})", holders.join(", ")),
        })
    }

    fn is_active(&self, unit: &str) -> bool {
        self.known.iter().any(|known| known.name == unit && known.is_active)
    }
}

fn is_stream(kind: ListenKind) -> bool {
    matches!(kind, ListenKind::Tcp | ListenKind::Unix | ListenKind::Vsock)
}

/// The change itself.
fn assemble(
    request: &Request<'_>,
    before: &Before,
    config: HandlerConfig,
    module: Module,
    new_settings: Option<String>,
) -> Result<Plan, String> {
    let Request { name, scope, arguments, .. } = *request;
    let file = handler_file(&scope.places, name);
    let units = units::of(name, &config);
    let service = units::service(name, config.process);
    let mut change = unit_change(before, &units, arguments.no_start);
    let former = before.config.handlers.get(name);
    let active = |services: Vec<String>| -> Result<Vec<String>, String> {
        let active = crate::installation::systemd::Manager::active(&scope.systemd, &services)?;
        Ok(active.into_iter().collect())
    };
    if !change.stop.is_empty() {
        change.restart = active(former.map(|former| units::service(name, former.process)).into_iter().collect())?;
    } else if new_settings.is_some() && !change.start.iter().any(|unit| unit.ends_with(".socket")) {
        // A new socket has the service handed over, by a unit of its own.
        let is_running = config.process != wasm_sock_config::Process::Connection;
        change.reload = active(is_running.then(|| service.clone()).into_iter().collect())?;
    }
    change.files = module.files;
    if let Some(text) = &new_settings {
        let staged = request.folder.join("settings.toml");
        stage_settings(&staged, &file, text, &config, scope)?;
        change.files.push((file.clone(), Some(staged)));
    }
    change.folders = change.files.iter().flat_map(|(path, _)| missing_folders(path)).collect();
    change.folders.sort();
    change.folders.dedup();
    change.record = record(request, before, &change, &units, &service)?;
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
        units,
        service,
        door,
        config,
    })
}

/// Which units are stopped and started.
fn unit_change(before: &Before, units: &[Unit], no_start: bool) -> Change {
    let is_same = |unit: &Unit| before.units.contains(unit);
    let is_gone = |unit: &Unit| !units.contains(unit);
    let stop = before.units.iter().filter(|unit| is_gone(unit) && before.is_active(&unit.name));
    let start = units.iter().filter(|unit| !is_same(unit) || !before.is_active(&unit.name));
    Change {
        stop: stop.map(|unit| unit.name.clone()).collect(),
        start: start.filter(|_| !no_start).map(|unit| unit.name.clone()).collect(),
        ..Change::default()
    }
}

/// The folders above a file that are missing.
fn missing_folders(path: &Path) -> Vec<PathBuf> {
    let above = path.ancestors().skip(1);
    above.take_while(|folder| !folder.exists()).map(Path::to_owned).collect()
}

fn record(
    request: &Request<'_>,
    before: &Before,
    change: &Change,
    units: &[Unit],
    service: &str,
) -> Result<Record, String> {
    let name = request.name;
    let settings = handler_file(&request.scope.places, name);
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
    let mut folders = [former.folders, request.made.clone(), change.folders.clone()].concat();
    folders.sort();
    folders.dedup();
    Ok(Record {
        handler: name.to_owned(),
        is_adopted: former.is_adopted || (request.former.is_none() && settings.exists()),
        files,
        settings,
        folders,
        units: units.iter().map(|unit| unit.name.clone()).collect(),
        services: vec![service.to_owned()],
    })
}

/// Writes the new settings with the rights of the former ones. New ones can be read by all, unless they have
/// variables, which may be secrets: then by the service's user.
fn stage_settings(
    staged: &Path,
    file: &Path,
    text: &str,
    config: &HandlerConfig,
    scope: &Scope,
) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", staged.display());
    if let Ok(former) = fs::metadata(file) {
        durable::write_new(staged, text.as_bytes(), former.mode() & 0o7777).map_err(failed)?;
        return chown(staged, Some(former.uid()), Some(former.gid())).map_err(failed);
    }
    let has_secrets = !config.env.is_empty();
    let mode = match (has_secrets, scope.systemd.user) {
        (false, _) => 0o644,
        (true, true) => 0o600,
        (true, false) => 0o640,
    };
    durable::write_new(staged, text.as_bytes(), mode).map_err(failed)?;
    if mode == 0o640 && rustix::process::geteuid().is_root() {
        let user = known::user_of(&scope.systemd, "wasm-sock.service")?.unwrap_or_default();
        let user = folders::User::find(&user.user, &user.group, "", &scope.systemd.interrupts)?;
        chown(staged, None, Some(user.group())).map_err(failed)?;
    }
    Ok(())
}
