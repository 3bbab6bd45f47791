//! `wasm-sock host`: what systemd starts.

use super::arguments::HostOptions;
use super::{Failure, environment, load_config, print};
use crate::activation::{self, ActivationError, Passed, Socket, handler_name};
use crate::config::{Config, ConfigErrors};
use crate::journal::{self, Level};
use crate::lifecycle;
use crate::module::{Cache, Compiled, Keeper, Work};
use crate::runtime;
use crate::sandbox::{self, Needs};
use crate::serve::{self, Plan};
use crate::trace::{self, Mark};
use crate::wasi;
use std::collections::BTreeSet;
use std::os::fd::AsRawFd;
use std::sync::Arc;

/// # Errors
/// When no sockets were passed, the configuration is bad, or the process cannot serve.
pub fn run(options: HostOptions) -> Result<(), Failure> {
    if options.print_sandbox {
        return print_sandbox(options);
    }
    lifecycle::hold_signals();
    let passed = sockets(&options)?;
    trace::pass(Mark::Sockets);
    let cache = Cache::from_environment();
    let (plan, needs) = prepare(options, &passed, cache.as_ref());
    if let Some(cache) = &cache {
        // What cannot be made is told by whoever stores something there.
        let _ = cache.make();
    }
    let keeper = keeper(&plan, &needs, &passed, cache.as_ref());
    let plan = confine(plan, &needs);
    trace::pass(Mark::Sandbox);
    serve::serve(passed, &plan, Compiled { cache, keeper })?;
    match plan {
        Plan::Serve { .. } => Ok(()),
        Plan::TurnAway => Err(Failure::Reported),
    }
}

/// What is to be done, and what that needs.
fn prepare(options: HostOptions, passed: &Passed, cache: Option<&Cache>) -> (Plan, Needs) {
    let names = passed.sockets.iter().map(|socket| handler_name(&socket.name)).collect();
    let config = Config::load_for(&names, options.config.as_deref(), &environment());
    trace::pass(Mark::Configuration);
    let report = |errors: ConfigErrors| {
        for line in errors.to_string().lines() {
            journal::log(Level::Error, line);
        }
    };
    let plan = match config {
        Ok((mut config, mistakes)) => {
            if !mistakes.is_empty() {
                report(ConfigErrors(mistakes));
            }
            if let Some(idle_timeout) = options.idle_timeout {
                config.host.idle_timeout = idle_timeout;
            }
            Plan::Serve {
                config: Box::new(config),
                module: options.module,
            }
        }
        Err(errors) => {
            report(errors);
            Plan::TurnAway
        }
    };
    let needs = needs_of_handlers(&plan, &names);
    (plan, needs_of_host(needs, cache))
}

/// The process beside the host that compiles, where that may be to do. It also makes copies of artifacts that are
/// about to be loaded and have none.
fn keeper(plan: &Plan, needs: &Needs, passed: &Passed, cache: Option<&Cache>) -> Option<Arc<Keeper>> {
    let files_of = |name: &str| plan.settings(name).1.ok();
    let files = |socket: &Socket| files_of(handler_name(&socket.name));
    let mut copies = Vec::new();
    if let Some(cache) = cache {
        let sockets = || passed.sockets.iter();
        // Where no client waits, there is time to look at all of them.
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
            // SAFETY: the new process ends without ever using it.
            unsafe { libc::close(socket.fd.as_raw_fd()) };
        }
    };
    // SAFETY: no thread was started yet.
    match unsafe { Keeper::fork(&work, cache, files_of, close) } {
        Ok(keeper) => compiles.then(|| Arc::new(keeper)),
        Err(error) => {
            let message = format_args!("nothing can be compiled: {error} (raise TasksMax= in the service)");
            journal::log(Level::Warning, message);
            None
        }
    }
}

/// Gives up all that the plan does not need. Where the plan asks for more than the kernel can do about
/// that, nothing is served.
fn confine(plan: Plan, needs: &Needs) -> Plan {
    lifecycle::reach_manager();
    runtime::open_pagemap();
    let missing = sandbox::enter(needs);
    #[cfg(debug_assertions)]
    sandbox::attempt::from_environment();
    if missing.is_empty() {
        return plan;
    }
    let missing = missing.join("; ");
    match &plan {
        Plan::Serve { config, .. } if config.host.require_sandbox => {
            let message = format_args!("{missing}, and `require-sandbox` is set");
            journal::log(Level::Error, message);
            Plan::TurnAway
        }
        _ => {
            journal::log(Level::Info, missing);
            plan
        }
    }
}

/// What these handlers need.
fn needs_of_handlers(plan: &Plan, names: &BTreeSet<&str>) -> Needs {
    let mut needs = Needs::default();
    for name in names {
        if let (settings, Ok(files)) = plan.settings(name) {
            wasi::add_needs(&settings, &mut needs);
            needs.add_module(&files.cwasm, &files.wasm);
        }
    }
    needs
}

/// What the process needs, beside what its handlers do.
fn needs_of_host(mut needs: Needs, cache: Option<&Cache>) -> Needs {
    needs.add_resolver();
    if let Some(cache) = cache {
        needs.add_cache(cache.directory());
    }
    needs
}

/// For the sockets that were passed; without any, for all handlers.
fn print_sandbox(options: HostOptions) -> Result<(), Failure> {
    let passed = activation::sockets().map(|passed| passed.sockets);
    let config = load_config(options.config.as_deref()).map_err(Failure::Configuration)?;
    let plan = Plan::Serve {
        config: Box::new(config),
        module: options.module,
    };
    let names = match (&passed, &plan) {
        (Ok(sockets), _) => sockets
            .iter()
            .map(|socket| handler_name(&socket.name).to_owned())
            .collect(),
        (Err(_), Plan::Serve { config, module }) if module.is_none() => config.handler_names().0,
        _ => BTreeSet::from(["any".to_owned()]),
    };
    let names = names.iter().map(String::as_str).collect();
    let cache = Cache::from_environment();
    let needs = needs_of_handlers(&plan, &names);
    print(&needs_of_host(needs, cache.as_ref()).to_string())
}

/// The sockets that were passed; else, with `--module`, the one that standard input is.
fn sockets(options: &HostOptions) -> Result<Passed, Failure> {
    let error = match activation::sockets() {
        Ok(passed) => return Ok(passed),
        Err(error) => error,
    };
    match error {
        ActivationError::NoSockets | ActivationError::ZeroSockets => {}
        _ => return Err(Failure::Failed(error.to_string())),
    }
    let accepted = options.module.as_ref();
    match accepted.and_then(|_| activation::standard_input()) {
        Some((passed, stderr_was_it)) => {
            if stderr_was_it {
                journal::use_syslog();
            }
            Ok(passed)
        }
        None => Err(Failure::NoSockets(error)),
    }
}
