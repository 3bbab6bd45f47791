//! `wasm-sock kv`: what the guests of a handler have stored in its embedded stores, also while it serves.

mod owner;
mod transfer;

use crate::scope::Scope;
use crate::{CommandError, absolute};
use clap::{Args, Subcommand};
use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;
use wasm_sock_config::{Config, HandlerConfig, StoreAddress, parse_duration, valid_handler_name};
use wasm_sock_store::{Change, Database, Patience, StoreError, What, file_of, make_folder};

/// How long hosts that have locked the file are waited for.
const PATIENCE: Patience = Patience::Wait(Duration::from_secs(10));

/// The arguments of `wasm-sock kv`.
#[derive(Debug, PartialEq, Eq, Args)]
pub struct Kv {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, PartialEq, Eq, Subcommand)]
enum Action {
    /// Print the value of a key, as it is
    Get {
        #[command(flatten)]
        place: Place,
        key: String,
    },
    /// Set the value of a key
    Set {
        #[command(flatten)]
        place: Place,
        key: String,
        /// [default: standard input]
        value: Option<String>,
        /// Have it expire after this time: 30s, 5min [default: as the store's `expire`]
        #[arg(long, value_name = "TIME", value_parser = lifetime)]
        expire: Option<Duration>,
    },
    /// Delete keys
    Delete {
        #[command(flatten)]
        place: Place,
        #[arg(required = true, value_name = "KEY")]
        keys: Vec<String>,
    },
    /// Print the keys, one a line, by their bytes
    List {
        #[command(flatten)]
        place: Place,
    },
    /// Print all entries of all stores as JSON, one a line
    Export {
        #[command(flatten)]
        handler: Handler,
    },
    /// Set what `export` has printed
    Import {
        #[command(flatten)]
        handler: Handler,
        /// [default: standard input]
        file: Option<PathBuf>,
    },
}

/// The handler whose file it is.
#[derive(Debug, PartialEq, Eq, Args)]
struct Handler {
    /// The handler
    #[arg(value_name = "NAME", add = crate::completions::handlers())]
    name: String,
    /// The configuration that has it [default: /etc/wasm-sock/wasm-sock.toml]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    scope: Scope,
}

#[derive(Debug, PartialEq, Eq, Args)]
struct Place {
    #[command(flatten)]
    handler: Handler,
    /// The store, by its name in `keyvalue`
    #[arg(long, value_name = "STORE", default_value = "default")]
    store: String,
}

fn lifetime(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("nothing can be stored for 0s".to_owned()),
        lifetime => Ok(lifetime),
    }
}

/// Does what is asked for.
///
/// # Errors
/// When there is no such handler or key, or the file cannot be read or changed.
pub fn run(arguments: &Kv) -> Result<(), CommandError> {
    match &arguments.action {
        Action::Get { place, key } => get(place, key),
        Action::Set {
            place,
            key,
            value,
            expire,
        } => set(place, key, value.as_deref(), *expire),
        Action::Delete { place, keys } => change(place, None, What::Delete(keys.clone())),
        Action::List { place } => list(place),
        Action::Export { handler } => transfer::export(handler),
        Action::Import { handler, file } => transfer::import(handler, file.as_deref()),
    }
}

fn get(place: &Place, key: &str) -> Result<(), CommandError> {
    let nothing = || {
        let (name, store) = (&place.handler.name, &place.store);
        CommandError::Failed(format!(
            "kv: {name} has no key {key:?} in its store {store:?} (see `wasm-sock kv list`)"
        ))
    };
    let Some((database, file)) = place.open()? else {
        return Err(nothing());
    };
    let value = database.get(&place.store, key).map_err(|error| failed(&file, &error))?;
    write(&value.ok_or_else(nothing)?)
}

fn set(place: &Place, key: &str, value: Option<&str>, expire: Option<Duration>) -> Result<(), CommandError> {
    let value = match value {
        Some(value) => value.as_bytes().to_vec(),
        None => {
            let mut value = Vec::new();
            // One byte more than is allowed, so that it is refused and not cut.
            let most = wasm_sock_store::MOST_VALUE as u64 + 1;
            io::stdin().take(most).read_to_end(&mut value)?;
            value
        }
    };
    change(place, expire, What::Set(vec![(key.to_owned(), value)]))
}

fn change(place: &Place, expire: Option<Duration>, what: What) -> Result<(), CommandError> {
    let settings = place.handler.settings()?;
    let granted = settings.keyvalue.iter().find(|store| store.name == place.store);
    let lifetime = expire.or_else(|| granted.and_then(|store| store.lifetime));
    let is_deletion = matches!(what, What::Delete(_));
    let change = Change {
        store: place.store.clone(),
        lifetime,
        what,
    };
    place.refuse_server(&settings)?;
    let opened = match is_deletion {
        true => place.handler.open(&settings)?,
        false => Some(place.handler.open_or_make(&settings)?),
    };
    // What was never stored is deleted already.
    let Some((mut database, file)) = opened else {
        return Ok(());
    };
    let results = database.commit(&[change]);
    results
        .into_iter()
        .try_for_each(|result| result.map(drop))
        .map_err(|error| failed(&file, &error))?;
    tidy(&database);
    Ok(())
}

fn list(place: &Place) -> Result<(), CommandError> {
    let Some((database, file)) = place.open()? else {
        return Ok(());
    };
    let mut after: Option<String> = None;
    loop {
        let part = database
            .keys(&place.store, after.as_deref(), 0)
            .map_err(|error| failed(&file, &error))?;
        let lines: String = part.keys.iter().map(|key| format!("{}\n", printable(key))).collect();
        crate::print(&lines)?;
        after = part.keys.last().cloned();
        if !part.more {
            return Ok(());
        }
    }
}

/// A key in one line, without what a terminal would take for commands.
fn printable(key: &str) -> String {
    let escape = |character: char| match character.is_control() || character == '\\' {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    key.chars().map(escape).collect()
}

impl Place {
    fn open(&self) -> Result<Option<(Database, PathBuf)>, CommandError> {
        let settings = self.handler.settings()?;
        self.refuse_server(&settings)?;
        self.handler.open(&settings)
    }

    /// What a server has is read with the server's own tools.
    fn refuse_server(&self, settings: &HandlerConfig) -> Result<(), CommandError> {
        let store = settings.keyvalue.iter().find(|store| store.name == self.store);
        match store.map(|store| &store.at) {
            None | Some(StoreAddress::Embedded) => Ok(()),
            Some(server) => Err(CommandError::Failed(format!(
                "kv: the store {:?} of {} is not embedded (it is at {server}: use redis-cli or valkey-cli)",
                self.store, self.handler.name
            ))),
        }
    }
}

impl Handler {
    fn settings(&self) -> Result<HandlerConfig, CommandError> {
        if !valid_handler_name(&self.name) {
            return Err(CommandError::Failed(format!(
                "kv: {:?} is no handler's name",
                self.name
            )));
        }
        let file = self.config.clone().map(absolute).transpose()?;
        let names = BTreeSet::from([self.name.as_str()]);
        let loaded = Config::load_for(&names, file.as_deref(), &self.scope.environment());
        let (config, _) = loaded.map_err(CommandError::Configuration)?;
        Ok(config.handler(&self.name).into_owned())
    }

    /// The file of the handler, as the user that it belongs to: from here on, this process is that user.
    fn file(&self) -> Result<PathBuf, CommandError> {
        let state = owner::become_owner(self.scope)?;
        Ok(file_of(&state, &self.name))
    }

    /// `None`: nothing was stored yet.
    fn open(&self, settings: &HandlerConfig) -> Result<Option<(Database, PathBuf)>, CommandError> {
        let file = self.file()?;
        match Database::open(&file, settings.keyvalue_quota, PATIENCE) {
            Ok(database) => Ok(Some((database, file))),
            Err(StoreError::Missing) => owner::explain_missing(&file).map(|()| None),
            Err(error) => Err(failed(&file, &error)),
        }
    }

    fn open_or_make(&self, settings: &HandlerConfig) -> Result<(Database, PathBuf), CommandError> {
        let file = self.file()?;
        if let Some(folder) = file.parent() {
            make_folder(folder).map_err(|error| {
                CommandError::Failed(format!("kv: {}: {error}{}", folder.display(), owner::hint(&error)))
            })?;
        }
        let database = Database::open_or_make(&file, settings.keyvalue_quota, PATIENCE);
        database
            .map(|database| (database, file.clone()))
            .map_err(|error| failed(&file, &error))
    }
}

/// Leaves nothing to do for the next host. What cannot be done now, the next one does.
fn tidy(database: &Database) {
    let _: Result<(), StoreError> = database.tidy();
}

fn failed(file: &Path, error: &StoreError) -> CommandError {
    let file = file.display();
    CommandError::Failed(match error {
        StoreError::Damaged(_) => {
            format!("kv: {file}: {error} (save what can be read with `sqlite3 {file} .recover`, and move it away)")
        }
        StoreError::Quota => format!("kv: {file}: {error} (see keyvalue-quota)"),
        _ => format!("kv: {file}: {error}"),
    })
}

/// Writes to standard output. A pipe whose reader has closed it is not an error.
fn write(bytes: &[u8]) -> Result<(), CommandError> {
    match io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn keys_are_printed_in_one_line_each() {
        assert_eq!(printable("plain ä"), "plain ä");
        assert_eq!(printable("a\nb\u{1b}[2J\\"), "a\\nb\\u{1b}[2J\\\\");
    }
}
