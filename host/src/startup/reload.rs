//! Reload: reads the configuration again, in a process that has confined itself, and decides whether that process can
//! serve with it.
//!
//! A sandbox is never widened. What it was not entered with, and what the engine was not made with, the next host has:
//! this one hands over. It accepts no more, drains and exits, and systemd starts the next for the next client.

use super::needs;
use super::options::{Options, environment};
use super::plan::Plan;
use super::report;
use crate::config::{Config, ConfigError};
use crate::journal::{self, Level};
use crate::sandbox::{self, Needs};
use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs::File;

/// What it takes to read the configuration again.
pub struct Reload {
    options: Options,
    /// What the sandbox allows.
    granted: Needs,
    /// What the kernel lacks of the sandbox; empty: nothing.
    missing: String,
}

/// The result of reading the configuration again.
pub enum Reading {
    /// There is no file, and there was none.
    Nothing,
    /// It cannot be used. The reason was logged.
    Rejected,
    /// This process can serve with it.
    Apply(Plan),
    /// This process cannot serve with it, but the next host can; the plan, if it could be read.
    HandOver(Option<Plan>),
}

impl Reload {
    /// `granted` is what the sandbox was entered with; `missing`, what the kernel lacks of it.
    pub fn new(options: Options, granted: Needs, missing: String) -> Self {
        Self {
            options,
            granted,
            missing,
        }
    }

    /// Reads the configuration of the handlers of these names, which are served by the plan `former`. The result is
    /// logged, unless it can be applied.
    pub fn read(&self, former: &Plan, names: &BTreeSet<&str>) -> Reading {
        let config = Config::load_for(names, self.options.config.as_deref(), &environment());
        let (config, mistakes) = match config {
            Ok(read) => read,
            Err(errors) => return self.reject(errors.0),
        };
        // A mistake in the table of another handler, which this host has no socket of, harms none of its own.
        let is_own = |error: &ConfigError| error.handler.as_deref().is_none_or(|name| names.contains(name));
        if mistakes.iter().any(is_own) {
            return self.reject(mistakes);
        }
        report::mistakes(mistakes);
        let plan = self.options.plan(config);
        if is_without_files(&plan) && is_without_files(former) {
            journal::log(Level::Info, "reload: there is no configuration to read");
            return Reading::Nothing;
        }
        if requires_sandbox(&plan) && !self.missing.is_empty() {
            report::required(&self.missing);
            return rejected();
        }
        match self.lacks(former, &plan, names) {
            None => Reading::Apply(plan),
            Some(why) => {
                hand_over(&why);
                Reading::HandOver(Some(plan))
            }
        }
    }

    fn reject(&self, mistakes: Vec<ConfigError>) -> Reading {
        if let Some(error) = mistakes.iter().find(|error| is_out_of_reach(error)) {
            let file = error.file.display();
            hand_over(&format_args!("{file} cannot be read by the running host"));
            return Reading::HandOver(None);
        }
        report::mistakes(mistakes);
        rejected()
    }

    /// Why this process cannot serve with `plan`; `None`: it can.
    fn lacks(&self, former: &Plan, plan: &Plan, names: &BTreeSet<&str>) -> Option<String> {
        let (Plan::Serve { config: before, .. }, Plan::Serve { config, .. }) = (former, plan) else {
            return Some("the configuration can be used now".to_owned());
        };
        if config.host.stack != before.host.stack {
            return Some("`stack` in [host] is for guests of a new host only".to_owned());
        }
        names.iter().find_map(|name| {
            let needs = needs::of_handlers(plan, &BTreeSet::from([*name]));
            // The compile process knows the files that it was started with.
            let is_same_module = former.settings(name).1 == plan.settings(name).1;
            let what = match needs.compiles && !is_same_module {
                true => Some("to compile another module".to_owned()),
                false => self.granted.lacks(&needs),
            };
            what.map(|what| format!("{name} needs {what}, which the running host cannot get"))
        })
    }
}

fn is_without_files(plan: &Plan) -> bool {
    matches!(plan, Plan::Serve { config, .. } if config.files.is_empty())
}

fn requires_sandbox(plan: &Plan) -> bool {
    matches!(plan, Plan::Serve { config, .. } if config.host.require_sandbox)
}

/// Can the file of this error be read, but not by this process, which has confined itself?
fn is_out_of_reach(error: &ConfigError) -> bool {
    let refused = |why| sandbox::refuses(&error.file, &why);
    error.position.is_none() && File::open(&error.file).err().is_some_and(refused)
}

fn rejected() -> Reading {
    journal::log(Level::Error, "reload: the settings stay what they were (see above)");
    Reading::Rejected
}

fn hand_over(why: &dyn Display) {
    let message = format_args!("reload: {why}: it ends its connections, and the next host starts with it");
    journal::log(Level::Info, message);
}
