//! What the process needs for its handlers and for itself, which becomes its sandbox.

use super::options::{Options, environment};
use super::plan::Plan;
use super::stats;
use crate::config::DROP_INS;
use crate::keyvalue;
use crate::module::Cache;
use crate::sandbox::{Needs, Use};
use crate::wasi;
use std::collections::BTreeSet;
use std::path::Path;

/// What the handlers of these names need of the process.
pub fn of_handlers(plan: &Plan, names: &BTreeSet<&str>) -> Needs {
    let mut needs = Needs::default();
    for name in names {
        if plan.is_metrics(name) {
            if let Some(directory) = stats::directory() {
                needs.add_path(&directory, Use::List);
            }
            continue;
        }
        if let (settings, Ok(files)) = plan.settings(name) {
            wasi::add_needs(name, &settings, &mut needs);
            keyvalue::add_needs(name, &settings, &mut needs);
            needs.add_module(&files.cwasm, &files.wasm);
        }
    }
    needs
}

/// `needs` of the handlers, and what the host itself needs.
pub fn of_host(mut needs: Needs, plan: &Plan, options: &Options, cache: Option<&Cache>) -> Needs {
    match &options.config {
        _ if plan.hands_over() => {}
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
