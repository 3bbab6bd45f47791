//! Start-up: receives the sockets that systemd passed (socket activation), reads the configuration, forks the compile
//! process, and enters the sandbox.

mod egress;
mod needs;
mod options;
mod park;
mod plan;
mod reload;
mod report;
mod stats;

use crate::activation::{self, ActivationError, Passed, Socket, handler_name};
use crate::config::{Config, ConfigErrors};
use crate::egress::Egress;
use crate::journal::{self, Level};
use crate::keyvalue;
use crate::lifecycle;
use crate::module::{Cache, CompileProcess, Compiled, Work};
use crate::runtime;
use crate::sandbox::{self, Needs};
use crate::trace::{self, Mark};
use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use wasm_sock_stats::Table;

pub use options::{Options, environment};
pub use plan::{METRICS, Plan};
pub use reload::{Reading, Reload};
pub use stats::directory as stats_directory;

/// The result of the start-up, in a process that has confined itself.
pub struct Started {
    pub passed: Passed,
    pub plan: Plan,
    pub compiled: Compiled,
    pub reload: Reload,
    /// The counters of this process. `None`: nothing is counted.
    pub stats: Option<Table>,
    /// The way out of the guests. `None`: no handler was granted anything that leads out.
    pub egress: Option<Arc<Egress>>,
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
    park::park(&plan, &passed);
    if let Some(cache) = &cache {
        // An error is ignored here: it occurs again, and is logged, when something is stored there.
        let _ = cache.make();
    }
    let compile_process = compile_process(&plan, &needs, &passed, cache.as_ref());
    let stats = stats::open(&passed, &plan);
    let egress = needs.reaches_out.then(egress::open).flatten();
    keyvalue::make_folders(&needs);
    let (plan, missing) = confine(plan, &needs, egress.as_deref());
    trace::pass(Mark::Sandbox);
    Ok(Started {
        passed,
        plan,
        compiled: Compiled { cache, compile_process },
        reload: Reload::new(options, needs, missing),
        stats,
        egress,
    })
}

/// Reads the configuration: the plan, and what the process needs for it. Mistakes are logged.
fn prepare(options: &Options, passed: &Passed, cache: Option<&Cache>) -> (Plan, Needs) {
    let names = passed.sockets.iter().map(|socket| handler_name(&socket.name)).collect();
    let config = Config::load_for(&names, options.config.as_deref(), &environment());
    trace::pass(Mark::Configuration);
    let plan = match config {
        Ok((config, mistakes)) => {
            report::mistakes(mistakes);
            options.plan(config)
        }
        Err(errors) => {
            report::mistakes(errors.0);
            Plan::TurnAway
        }
    };
    let needs = needs::of_handlers(&plan, &names);
    let needs = needs::of_host(needs, &plan, options, cache);
    (plan, needs)
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
fn confine(plan: Plan, needs: &Needs, egress: Option<&Egress>) -> (Plan, String) {
    lifecycle::reach_manager();
    runtime::open_pagemap();
    let missing = sandbox::enter(needs, egress.map(Egress::descriptor));
    #[cfg(debug_assertions)]
    sandbox::attempt::from_environment();
    if missing.is_empty() {
        return (plan, String::new());
    }
    let missing = missing.join("; ");
    match &plan {
        Plan::Serve { config, .. } if config.host.require_sandbox => {
            report::required(&missing);
            (Plan::TurnAway, missing)
        }
        _ => {
            journal::log(Level::Info, &missing);
            (plan, missing)
        }
    }
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
    let plan = options.plan(config);
    let needs = needs::of_handlers(&plan, &names.iter().map(String::as_str).collect());
    Ok(needs::of_host(
        needs,
        &plan,
        &options,
        Cache::from_environment().as_ref(),
    ))
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
