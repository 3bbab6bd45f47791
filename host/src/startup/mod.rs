//! Start-up: receives the sockets that systemd passed (socket activation), reads the configuration, forks the compile
//! process, and enters the sandbox.

mod plan;
mod reload;
mod stats;

use crate::activation::{self, ActivationError, Passed, Socket, handler_name};
use crate::config::{Config, ConfigError, ConfigErrors, DROP_INS, Environment};
use crate::journal::{self, Level};
use crate::lifecycle;
use crate::module::{Cache, CompileProcess, Compiled, Work};
use crate::runtime;
use crate::sandbox::{self, Needs, Use};
use crate::trace::{self, Mark};
use crate::wasi;
use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use wasm_sock_stats::Table;

pub use plan::{METRICS, Plan};
pub use reload::{Reading, Reload};
pub use stats::directory as stats_directory;

/// The options of `wasm-sock host` that decide what is served.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--module`: the module of every socket, whatever its name.
    pub module: Option<PathBuf>,
    /// `--handler`: the handler of every socket, whatever its name.
    pub handler: Option<String>,
    /// `--config`: the configuration file, in place of the default ones.
    pub config: Option<PathBuf>,
    /// `--idle-timeout`, which overrides the configuration; `Some(None)`: infinity.
    pub idle_timeout: Option<Option<Duration>>,
}

/// The result of the start-up, in a process that has confined itself.
pub struct Started {
    pub passed: Passed,
    pub plan: Plan,
    pub compiled: Compiled,
    pub reload: Reload,
    /// The counters of this process. `None`: nothing is counted.
    pub stats: Option<Table>,
}

/// Starts the host: sockets, configuration, compile process, sandbox. Mistakes in the configuration are logged. If
/// it cannot be used at all, the plan is to reset connections.
///
/// # Errors
/// When no sockets were passed, or their environment variables are invalid (`sd_listen_fds(3)`).
pub fn start(options: Options) -> Result<Started, ActivationError> {
    lifecycle::block_signals();
    let mut passed = sockets(&options)?;
    if let Some(handler) = &options.handler {
        for socket in &mut passed.sockets {
            socket.name.clone_from(handler);
        }
    }
    trace::pass(Mark::Sockets);
    let cache = Cache::from_environment();
    let (plan, needs) = prepare(&options, &passed, cache.as_ref());
    if let Some(cache) = &cache {
        // An error is ignored here: it occurs again, and is logged, when something is stored there.
        let _ = cache.make();
    }
    let compile_process = compile_process(&plan, &needs, &passed, cache.as_ref());
    let stats = stats::open(&passed, &plan);
    let (plan, missing) = confine(plan, &needs);
    trace::pass(Mark::Sandbox);
    Ok(Started {
        passed,
        plan,
        compiled: Compiled { cache, compile_process },
        reload: Reload::new(options, needs, missing),
        stats,
    })
}

/// The environment that decides where the configuration is searched for.
pub fn environment() -> Environment<'static> {
    Environment::current(rustix::process::geteuid().is_root())
}

/// Reads the configuration: the plan, and what the process needs for it. Mistakes are logged.
fn prepare(options: &Options, passed: &Passed, cache: Option<&Cache>) -> (Plan, Needs) {
    let names = passed.sockets.iter().map(|socket| handler_name(&socket.name)).collect();
    let config = Config::load_for(&names, options.config.as_deref(), &environment());
    trace::pass(Mark::Configuration);
    let plan = match config {
        Ok((config, mistakes)) => {
            report(mistakes);
            serve(config, options)
        }
        Err(errors) => {
            report(errors.0);
            Plan::TurnAway
        }
    };
    let needs = needs_of_handlers(&plan, &names);
    (plan, needs_of_host(needs, options, cache))
}

/// Logs the mistakes in the configuration.
fn report(mistakes: Vec<ConfigError>) {
    for line in ConfigErrors(mistakes).to_string().lines() {
        journal::log(Level::Error, line);
    }
}

/// The plan to serve with a configuration, and what the options override.
fn serve(mut config: Config, options: &Options) -> Plan {
    if let Some(idle_timeout) = options.idle_timeout {
        config.host.idle_timeout = idle_timeout;
    }
    Plan::Serve {
        config: Box::new(config),
        module: options.module.clone(),
    }
}

/// Forks the compile process, if there may be something to compile. It also makes the cache's copies of artifacts that
/// are about to be loaded and have none.
fn compile_process(
    plan: &Plan,
    needs: &Needs,
    passed: &Passed,
    cache: Option<&Cache>,
) -> Option<Arc<CompileProcess>> {
    let files_of = |name: &str| plan.settings(name).1.ok();
    let files = |socket: &Socket| files_of(handler_name(&socket.name));
    let mut copies = Vec::new();
    if let Some(cache) = cache {
        let sockets = || passed.sockets.iter();
        // While no client is pending, there is time to check all sockets.
        let has_time = !sockets().any(|socket| socket.ready);
        let ready = sockets().filter(|socket| has_time || socket.ready);
        let lacking = ready
            .filter_map(files)
            .filter(|files| cache.lacks_copy_of(&files.cwasm));
        let loaded = lacking.filter(|files| files.stamp().prefers_cwasm());
        copies.extend(loaded.map(|files| files.cwasm));
    }
    let compiles = needs.compiles;
    if !compiles && copies.is_empty() {
        return None;
    }
    let work = Work { copies, compiles };
    let close = || {
        for socket in &passed.sockets {
            // SAFETY: the new process ends without ever using the descriptor.
            unsafe { libc::close(socket.fd.as_raw_fd()) };
        }
    };
    // SAFETY: no thread was started yet.
    match unsafe { CompileProcess::fork(&work, cache, files_of, close) } {
        Ok(compile_process) => compiles.then(|| Arc::new(compile_process)),
        Err(error) => {
            let message = format_args!("nothing can be compiled: {error} (raise TasksMax= in the service)");
            journal::log(Level::Warning, message);
            None
        }
    }
}

/// Enters the sandbox: gives up all that the plan does not need. If the kernel lacks a part of the sandbox and
/// `require-sandbox` is set, nothing is served. Also returns what the kernel lacks; empty: nothing.
fn confine(plan: Plan, needs: &Needs) -> (Plan, String) {
    lifecycle::reach_manager();
    runtime::open_pagemap();
    let missing = sandbox::enter(needs);
    #[cfg(debug_assertions)]
    sandbox::attempt::from_environment();
    if missing.is_empty() {
        return (plan, String::new());
    }
    let missing = missing.join("; ");
    match &plan {
        Plan::Serve { config, .. } if config.host.require_sandbox => {
            report_required(&missing);
            (Plan::TurnAway, missing)
        }
        _ => {
            journal::log(Level::Info, &missing);
            (plan, missing)
        }
    }
}

/// Logs that the kernel lacks what `require-sandbox` requires.
fn report_required(missing: &str) {
    let message = format_args!("{missing}, and `require-sandbox` is set");
    journal::log(Level::Error, message);
}

/// What the handlers of these names need of the process.
fn needs_of_handlers(plan: &Plan, names: &BTreeSet<&str>) -> Needs {
    let mut needs = Needs::default();
    for name in names {
        if plan.is_metrics(name) {
            if let Some(directory) = stats::directory() {
                needs.add_path(&directory, Use::List);
            }
            continue;
        }
        if let (settings, Ok(files)) = plan.settings(name) {
            wasi::add_needs(&settings, &mut needs);
            needs.add_module(&files.cwasm, &files.wasm);
        }
    }
    needs
}

/// `needs` of the handlers, and what the host itself needs.
fn needs_of_host(mut needs: Needs, options: &Options, cache: Option<&Cache>) -> Needs {
    needs.add_resolver();
    match &options.config {
        // Not the folder of this file, in which there may be anything: after it was replaced by another file of the
        // same name, a new host has to read it.
        Some(file) => {
            needs.add_configuration(file);
            needs.add_configuration(&file.with_file_name(DROP_INS));
        }
        None => {
            if let Some(folder) = environment().main_file().as_deref().and_then(Path::parent) {
                needs.add_configuration(folder);
            }
        }
    }
    if let Some(cache) = cache {
        needs.add_cache(cache.directory());
    }
    needs
}

/// What a host with these options needs, for `--print-sandbox`: for the sockets that were passed; without sockets, for
/// all handlers.
///
/// # Errors
/// Those of the configuration.
pub fn needs(options: Options) -> Result<Needs, ConfigErrors> {
    let passed = activation::sockets().map(|passed| passed.sockets);
    let config = Config::load(options.config.as_deref(), &environment())?;
    let names = match &passed {
        _ if options.handler.is_some() => options.handler.iter().cloned().collect(),
        Ok(sockets) => sockets
            .iter()
            .map(|socket| handler_name(&socket.name).to_owned())
            .collect(),
        Err(_) if options.module.is_none() => config.handler_names().0,
        _ => BTreeSet::from(["any".to_owned()]),
    };
    let plan = serve(config, &options);
    let needs = needs_of_handlers(&plan, &names.iter().map(String::as_str).collect());
    Ok(needs_of_host(needs, &options, Cache::from_environment().as_ref()))
}

/// The sockets that were passed; else, with `--module` or `--handler`, standard input, if that is a socket (inetd).
fn sockets(options: &Options) -> Result<Passed, ActivationError> {
    let error = match activation::sockets() {
        Ok(passed) => return Ok(passed),
        Err(error @ (ActivationError::NoSockets | ActivationError::ZeroSockets)) => error,
        Err(error) => return Err(error),
    };
    let is_told = options.module.is_some() || options.handler.is_some();
    match is_told.then(activation::standard_input).flatten() {
        Some((passed, stderr_was_it)) => {
            if stderr_was_it {
                journal::use_syslog();
            }
            Ok(passed)
        }
        None => Err(error),
    }
}
