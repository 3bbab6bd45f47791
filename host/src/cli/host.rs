//! `wasm-sock host`: what systemd starts.

use super::arguments::HostOptions;
use super::{Failure, check, load_config, print};
use crate::activation::{self, ActivationError, Passed, handler_name};
use crate::config::ConfigErrors;
use crate::guest;
use crate::journal::{self, Level};
use crate::lifecycle;
use crate::module::{Cache, compiler_path};
use crate::sandbox::{self, Needs};
use crate::serve::{self, Plan};
use crate::trace::{self, Mark};
use std::collections::BTreeSet;

/// # Errors
/// When no sockets were passed, the configuration is bad, or the process cannot serve.
pub fn run(options: HostOptions) -> Result<(), Failure> {
    if options.print_sandbox {
        return print_sandbox(options);
    }
    lifecycle::hold_signals();
    let passed = sockets(&options)?;
    trace::pass(Mark::Sockets);
    let plan = match plan(options) {
        Ok(plan) => plan,
        Err(errors) => {
            for line in errors.to_string().lines() {
                journal::log(Level::Error, line);
            }
            Plan::TurnAway
        }
    };
    trace::pass(Mark::Configuration);
    let plan = confine(&passed, plan);
    trace::pass(Mark::Sandbox);
    serve::serve(passed, &plan)?;
    match plan {
        Plan::Serve { .. } => Ok(()),
        Plan::TurnAway => Err(Failure::Reported),
    }
}

fn plan(options: HostOptions) -> Result<Plan, ConfigErrors> {
    let mut config = load_config(options.config.as_deref())?;
    if let Some(idle_timeout) = options.idle_timeout {
        config.host.idle_timeout = idle_timeout;
    }
    Ok(Plan::Serve {
        config: Box::new(config),
        module: options.module,
    })
}

/// Gives up all that the plan does not need. Where the plan asks for more than the kernel can do about
/// that, nothing is served.
fn confine(passed: &Passed, plan: Plan) -> Plan {
    lifecycle::reach_manager();
    guest::open_pagemap();
    let cache = Cache::from_environment();
    if let Some(cache) = &cache {
        // What cannot be made is told by whoever stores something there.
        let _ = cache.make();
    }
    let sockets = passed.sockets.iter();
    let names = sockets.map(|socket| handler_name(&socket.name)).collect();
    let missing = sandbox::enter(&needs(&plan, &names, cache.as_ref()));
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

/// What the process needs to serve these handlers.
fn needs(plan: &Plan, names: &BTreeSet<&str>, cache: Option<&Cache>) -> Needs {
    let mut needs = Needs::default();
    for name in names {
        if let (settings, Ok(files)) = plan.settings(name) {
            needs.add(&settings, &files);
        }
    }
    if let Some(cache) = cache {
        needs.add_cache(cache.directory());
    }
    if needs.compiles {
        // Whoever has something to compile then says that it is not there.
        needs.compiler = compiler_path().ok();
    }
    needs
}

/// For the sockets that were passed; without any, for all handlers.
fn print_sandbox(options: HostOptions) -> Result<(), Failure> {
    let passed = activation::sockets().map(|passed| passed.sockets);
    let plan = plan(options).map_err(Failure::Configuration)?;
    let names = match (&passed, &plan) {
        (Ok(sockets), _) => sockets
            .iter()
            .map(|socket| handler_name(&socket.name).to_owned())
            .collect(),
        (Err(_), Plan::Serve { config, module }) if module.is_none() => {
            check::names(config, &mut Vec::new())
        }
        _ => BTreeSet::from(["any".to_owned()]),
    };
    let names = names.iter().map(String::as_str).collect();
    let cache = Cache::from_environment();
    print(&needs(&plan, &names, cache.as_ref()).to_string())
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
