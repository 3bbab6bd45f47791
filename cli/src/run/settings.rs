//! The configuration that `run` writes for its host: the settings of one handler.

use super::Run;
use crate::CommandError;
use crate::settings::{Directory, Secret, Setting};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use toml::{Table, Value};
use wasm_sock_config::{Config, Environment, credential_name};

/// How long connections may go on after Ctrl-C.
const DRAIN: &str = "2s";

/// Writes the configuration for `handler`, whose module is `artifact`, into `folder`. Returns its path.
///
/// # Errors
/// When a setting is not valid.
pub fn write(run: &Run, handler: &str, artifact: &Path, folder: &Path) -> Result<PathBuf, CommandError> {
    let path = folder.join("wasm-sock.toml");
    fs::write(&path, text(run, handler, artifact)?)?;
    let environment = Environment {
        user_manager: true,
        variable: &|_| None,
    };
    match Config::load(Some(&path), &environment) {
        Ok(_) => Ok(path),
        Err(errors) => Err(CommandError::Configuration(errors)),
    }
}

/// Makes the folder of the host's credentials in `folder`: links to the files with the secrets, which are not copied.
/// Returns its path.
///
/// # Errors
/// When it cannot be written.
pub fn credentials(run: &Run, handler: &str, folder: &Path) -> Result<PathBuf, CommandError> {
    let credentials = folder.join("credentials");
    fs::create_dir(&credentials)?;
    for Secret { name, file } in &run.secret {
        symlink(file, credentials.join(credential_name(handler, name)))?;
    }
    Ok(credentials)
}

fn text(run: &Run, handler: &str, artifact: &Path) -> Result<String, CommandError> {
    let mut host = Table::new();
    host.insert("idle-timeout".to_owned(), "infinity".into());
    host.insert("drain-timeout".to_owned(), DRAIN.into());
    let mut table = Table::new();
    table.insert("module".to_owned(), artifact.to_string_lossy().into_owned().into());
    for (key, list) in [("args", &run.arg), ("allow-outbound", &run.allow_outbound)] {
        if !list.is_empty() {
            table.insert(key.to_owned(), list.clone().into());
        }
    }
    for (key, variables) in [("env", &run.env), ("config", &run.config_value)] {
        if !variables.is_empty() {
            let variables = variables.iter().cloned();
            let variables = variables.map(|variable| (variable.name, Value::from(variable.value)));
            table.insert(key.to_owned(), variables.collect::<Table>().into());
        }
    }
    if !run.secret.is_empty() {
        let names: Vec<&str> = run.secret.iter().map(|secret| secret.name.as_str()).collect();
        table.insert("secrets".to_owned(), names.into());
    }
    if !run.dir.is_empty() {
        table.insert("dirs".to_owned(), run.dir.iter().map(grant).collect::<Vec<_>>().into());
    }
    for Setting { keys, value } in &run.set {
        let value = Value::from_str(value).map_err(|error| CommandError::Failed(error.to_string()))?;
        match &keys[..] {
            // Of the process.
            [first, rest @ ..] if first == "host" => set_below(&mut host, rest, value),
            keys => set_below(&mut table, keys, value),
        }
    }
    let handlers = Table::from_iter([(handler.to_owned(), Value::from(table))]);
    let config = Table::from_iter([
        ("host".to_owned(), Value::from(host)),
        ("handler".to_owned(), handlers.into()),
    ]);
    toml::to_string(&config).map_err(|error| CommandError::Failed(error.to_string()))
}

/// Sets a value in a table, in a table in that, and so on.
fn set_below(table: &mut Table, keys: &[String], value: Value) {
    match keys {
        [] => {}
        [key] => drop(table.insert(key.clone(), value)),
        [key, rest @ ..] => {
            let below = table.entry(key.clone()).or_insert_with(|| Table::new().into());
            if let Some(below) = below.as_table_mut() {
                set_below(below, rest, value);
            }
        }
    }
}

fn grant(directory: &Directory) -> Value {
    let Directory { host, guest, access } = directory;
    let access = access.unwrap_or("read-only");
    let fields = [("host", host.as_str()), ("guest", guest), ("access", access)];
    Table::from_iter(fields.map(|(key, value)| (key.to_owned(), value.into()))).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_sock_config::ConfigValue;

    fn configured(run: &Run) -> Result<Config, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = write(run, "a.b", Path::new("/m/a.cwasm"), folder.path()).map_err(|error| error.to_string())?;
        let environment = Environment {
            user_manager: true,
            variable: &|_| None,
        };
        Ok(Config::load(Some(&path), &environment).unwrap())
    }

    #[test]
    fn what_is_given_becomes_settings_of_the_handler() {
        let run = Run {
            arg: vec!["--shout".to_owned()],
            env: vec!["A=b=c".parse().unwrap()],
            config_value: vec!["greeting=hi".parse().unwrap()],
            secret: vec!["token=/etc/hostname".parse().unwrap()],
            dir: vec!["/srv/a:/data:rw".parse().unwrap()],
            set: vec!["memory=128MiB".parse().unwrap(), "host.stack=1MiB".parse().unwrap()],
            ..Run::default()
        };
        let config = configured(&run).unwrap();
        let handler = config.handler("a.b");
        assert_eq!(handler.module.as_deref(), Some(Path::new("/m/a.cwasm")));
        assert_eq!(handler.args, ["--shout"]);
        assert_eq!(handler.env, [("A".to_owned(), "b=c".to_owned())]);
        assert_eq!(
            handler.config,
            [("greeting".to_owned(), ConfigValue::Text("hi".into()))]
        );
        assert_eq!(handler.secrets, ["token"]);
        assert_eq!(handler.dirs[0].guest, "/data");
        assert_eq!((handler.limits.memory, config.host.stack), (128 << 20, 1 << 20));
    }

    #[test]
    fn a_setting_that_is_not_valid_is_named() {
        let run = Run {
            set: vec!["memori=1".parse().unwrap()],
            ..Run::default()
        };
        let why = configured(&run).unwrap_err();
        assert!(
            why.contains("memori") && why.contains("did you mean \"memory\""),
            "{why}"
        );
    }
}
