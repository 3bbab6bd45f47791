//! `wasm-sock install`: makes a module a service: checks everything, then changes all or nothing.

mod arguments;
mod before;
mod checks;
pub mod handler_file;
mod knock;
mod module;
mod plan;
mod prove;
mod report;
mod settings;
mod units;

pub use arguments::Install;

use crate::check::secrets;
use crate::installation::guard::{self, Guard};
use crate::installation::interrupt::Interrupts;
use crate::installation::record::Record;
use crate::installation::scope::Scope;
use crate::installation::store::Store;
use crate::{CommandError, print};
use module::Source;
use plan::{Plan, Request, plan};
use wasm_sock_config::valid_handler_name;

/// Installs a module as a service, or updates it.
///
/// # Errors
/// All problems that are found before anything is changed; or what failed later, when everything is as before.
pub fn run(arguments: &Install) -> Result<(), CommandError> {
    if arguments.guard {
        return guard::watch(arguments.user);
    }
    let interrupts = Interrupts::default();
    let scope = Scope::new(arguments.user, arguments.dry_run, &interrupts).map_err(CommandError::Failed)?;
    let (source, file_name) = Source::find(&arguments.source)?;
    let name = name(arguments, file_name).map_err(CommandError::Failed)?;
    if arguments.dry_run {
        return dry_run(arguments, &name, &source, &scope);
    }
    // Until here, nothing was changed: Ctrl-C ended the build, or the wait for standard input.
    interrupts.catch()?;
    let store = Store::open(&scope.places, &scope.systemd, &interrupts, &say).map_err(CommandError::Failed)?;
    // Dropped before the store, which has the lock.
    let _guard = Guard::post(arguments.user);
    match install(arguments, &name, &source, &scope, &store) {
        Ok((plan, proof)) => {
            print(&report::installed(&plan, &name, &proof, &scope))?;
            for warning in scope.with_environment(|environment| secrets::of_handler(&name, &plan.config, environment))
            {
                say(&warning);
            }
            Ok(())
        }
        Err(problems) => {
            // A program that was interrupted, too, has only failed.
            let interrupted = interrupts.check().err().map(|why| vec![why]);
            let problems = interrupted.unwrap_or(problems);
            // Of a change that began, nothing is left; this is for new files.
            interrupts.ignore();
            let left = store.take_back(&scope.systemd).err();
            Err(report::failed(&name, problems.into_iter().chain(left)))
        }
    }
}

/// A message about what is going on.
pub fn say(text: &str) {
    eprintln!("wasm-sock: {text}");
}

fn install(
    arguments: &Install,
    name: &str,
    source: &Source,
    scope: &Scope,
    store: &Store,
) -> Result<(Plan, prove::Proof), Vec<String>> {
    let one = |why: String| vec![why];
    let former = store.record(name).map_err(one)?;
    let folder = store.prepare().map_err(one)?;
    let plan = plan(&Request {
        arguments,
        name,
        source,
        scope,
        folder: &folder,
        former: former.as_ref(),
        made: store.lock.made(),
    })?;
    store.interrupts.check().map_err(one)?;
    let checkpoint = |_: &str| store.interrupts.check();
    let prove = || prove::prove(&plan, scope);
    let proof = plan
        .change
        .apply(store, &scope.systemd, &checkpoint, prove)
        .map_err(one)?;
    Ok((plan, proof))
}

/// Prints what would be done. Needs no rights, and waits for no other command.
fn dry_run(arguments: &Install, name: &str, source: &Source, scope: &Scope) -> Result<(), CommandError> {
    let folder = tempfile::tempdir()?;
    let former = crate::installation::record::read::<Record>(&Store::record_file(&scope.places, name));
    let former = former.map_err(CommandError::Failed)?;
    let plan = plan(&Request {
        arguments,
        name,
        source,
        scope,
        folder: folder.path(),
        former: former.as_ref(),
        made: Vec::new(),
    });
    match plan {
        Ok(plan) => print(&report::planned(&plan, name, source, scope)),
        Err(problems) => Err(report::failed(name, problems)),
    }
}

/// The name of the handler.
fn name(arguments: &Install, file_name: Option<String>) -> Result<String, String> {
    let given = arguments.name.clone().or(file_name);
    let name = given.ok_or("standard input has no name (give one: --name hello)")?;
    match name.as_str() {
        hidden if hidden.starts_with('.') => Err(format!(
            "{hidden:?} cannot name a handler that is installed: files that begin with a dot are not read (--name)"
        )),
        valid if valid_handler_name(valid) => Ok(name),
        _ => Err(format!(
            "{name:?} cannot name a handler (allowed: 1 to 255 printable ASCII characters without \":\" and \"/\"; \
             choose one with --name)"
        )),
    }
}
