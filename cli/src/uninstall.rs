//! `wasm-sock uninstall`: removes a service that `install` made, and just that.

use crate::installation::guard::Guard;
use crate::installation::interrupt::Interrupts;
use crate::installation::removal;
use crate::installation::scope::Scope;
use crate::installation::store::Store;
use crate::{CommandError, install, print};
use std::path::{Path, PathBuf};
use wasm_sock_config::{Config, distance};

const EXAMPLES: &str = "\
Its sockets close, open connections finish, and the files that `install` wrote
go. Settings that people have changed since are kept as NAME.toml.old.

Examples:
  wasm-sock uninstall hello
  wasm-sock uninstall hello --purge";

/// The arguments of `wasm-sock uninstall`.
#[derive(Debug, PartialEq, Eq, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Uninstall {
    /// The handler's name
    #[arg(add = crate::completions::handlers())]
    pub name: String,
    /// Also remove its state, its counters, and settings that people have changed
    #[arg(long)]
    pub purge: bool,
    /// One of your own services, not of the system's
    #[arg(long)]
    pub user: bool,
}

/// Removes a service.
///
/// # Errors
/// When it was not installed by `install`; or what could not be removed: the next command tries again.
pub fn run(arguments: &Uninstall) -> Result<(), CommandError> {
    let failed = |why: String| CommandError::Failed(format!("cannot uninstall {}: {why}", arguments.name));
    let interrupts = Interrupts::default();
    interrupts.catch()?;
    let scope = Scope::new(arguments.user, false, &interrupts).map_err(CommandError::Failed)?;
    let store =
        Store::open(&scope.places, &scope.systemd, &interrupts, &install::say).map_err(CommandError::Failed)?;
    let name = &arguments.name;
    if store.record(name).map_err(&failed)?.is_none() {
        return Err(failed(unknown(name, &scope, &store)));
    }
    interrupts.check().map_err(&failed)?;
    let _guard = Guard::post(arguments.user);
    store.begin_removal(name, arguments.purge).map_err(&failed)?;
    let stays = removal::finish(&store, name, arguments.purge, &scope.systemd);
    let stays = stays.map_err(|why| failed(format!("{why} (run it again to finish it)")))?;
    let mut text = format!("{name} is uninstalled.\n");
    for line in stays {
        text.push_str(&format!("  stays: {line}\n"));
    }
    print(&text)
}

/// Why there is nothing to uninstall: it was made by hand, or the name is another.
fn unknown(name: &str, scope: &Scope, store: &Store) -> String {
    let config = scope.with_environment(|environment| Config::load_for_units(None, environment).0);
    let files = files_by_hand(name, scope, &config.host.modules);
    if !files.is_empty() {
        return format!(
            "people made it, not `install`\n(to remove it: systemctl stop its sockets, and remove{})",
            files
                .iter()
                .map(|file| format!("\n  {}", file.display()))
                .collect::<String>()
        );
    }
    let installed = store.installed();
    let similar: Vec<String> = similar(name, &installed)
        .into_iter()
        .map(|name| format!("{name:?}"))
        .collect();
    match (similar.as_slice(), installed.len()) {
        ([], 0) => "nothing is installed".to_owned(),
        ([], _) => format!("it is not installed (there are {})", installed.join(", ")),
        (similar, _) => format!("it is not installed (did you mean {}?)", similar.join(" or ")),
    }
}

/// Files of this name that are there all the same.
fn files_by_hand(name: &str, scope: &Scope, modules: &Path) -> Vec<PathBuf> {
    let candidates = [
        install::handler_file::path(&scope.places, name),
        modules.join(format!("{name}.wasm")),
        modules.join(format!("{name}.cwasm")),
    ];
    candidates.into_iter().filter(|file| file.exists()).collect()
}

/// Names that may have been meant: those with at most a third of their characters different.
fn similar<'a>(name: &str, names: &'a [String]) -> Vec<&'a str> {
    let is_similar = |other: &&String| {
        let most = name.chars().count().max(other.chars().count()).div_ceil(3);
        distance(name, other) <= most || (name.len() > 2 && (other.contains(name) || name.contains(other.as_str())))
    };
    names.iter().filter(is_similar).map(String::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_names_are_found() {
        let names = ["hello", "echo", "hello.v2"].map(str::to_owned);
        assert_eq!(similar("helo", &names), ["hello"]);
        assert_eq!(similar("hello.", &names), ["hello", "hello.v2"]);
        assert!(similar("webhook", &names).is_empty());
    }
}
