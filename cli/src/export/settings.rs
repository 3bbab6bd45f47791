//! The settings that a handler has in a container: as they are written, but for what belongs to this machine.

use super::comment;
use super::subject::{DEFAULT_MEMORY, METRICS, Subject};
use toml::{Table, Value};
use wasm_sock_config::StoreAddress;

/// What systemd does with a handler.
const FOR_SYSTEMD: [&str; 9] = [
    "module",
    "socket",
    "process",
    "enabled",
    "schedule",
    "schedule-jitter",
    "schedule-persistent",
    "schedule-path",
    "schedule-input",
];

/// What the host of the container does in its own way.
const OF_THIS_HOST: [&str; 4] = ["modules", "idle-timeout", "when-idle", "reload"];

/// Where modules are in a container.
pub const MODULES: &str = "/var/lib/wasm-sock/modules";

/// Where the handler's state is in a container.
pub const STATE: &str = "/var/lib/wasm-sock/state";

/// The text of `wasm-sock.toml` in the container.
///
/// # Errors
/// Never: what was read can be written.
pub fn text(subject: &Subject) -> Result<String, String> {
    let mut document = subject.common.clone();
    let mut host = table(&document, "host");
    for key in OF_THIS_HOST {
        host.remove(key);
    }
    // Else they would be looked for below $STATE_DIRECTORY.
    host.insert("modules".to_owned(), MODULES.into());
    if !host.contains_key("max-memory") {
        let memory = format!("{}MiB", DEFAULT_MEMORY >> 20);
        host.insert("max-memory".to_owned(), memory.into());
    }
    document.insert("host".to_owned(), host.into());
    let mut handler = subject.table.clone();
    for key in FOR_SYSTEMD {
        handler.remove(key);
    }
    let listen = |udp: bool, port: u16| Value::from(format!("{}{port}", if udp { "udp:" } else { "" }));
    let ports = subject.ports.iter().map(|port| listen(port.is_udp, port.number));
    handler.insert("listen".to_owned(), ports.collect::<Vec<_>>().into());
    let metrics = Table::from_iter([("listen".to_owned(), Value::from(vec![listen(false, METRICS)]))]);
    let handlers = Table::from_iter([
        (subject.name.clone(), Value::from(handler)),
        ("metrics".to_owned(), metrics.into()),
    ]);
    document.insert("handler".to_owned(), handlers.into());
    toml::to_string_pretty(&document).map_err(|error| error.to_string())
}

/// A table in a table; empty if there is none.
pub fn table(parent: &Table, key: &str) -> Table {
    match parent.get(key) {
        Some(Value::Table(table)) => table.clone(),
        _ => Table::new(),
    }
}

/// A list of strings; empty if there is none.
pub fn strings(parent: &Table, key: &str) -> Vec<String> {
    let list = parent.get(key).and_then(Value::as_array).into_iter().flatten();
    list.filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

/// Files of this machine that settings name, which a container has not: the setting, and the path.
pub fn files(subject: &Subject) -> Vec<(String, String)> {
    let mut files = Vec::new();
    for key in ["tls-roots", "tls-certificate", "tls-key"] {
        let path = subject.table.get(key).and_then(Value::as_str);
        files.extend(path.map(|path| (key.to_owned(), path.to_owned())));
    }
    for (key, value) in table(&subject.table, "config") {
        let path = value.get("file").and_then(Value::as_str);
        files.extend(path.map(|path| (format!("config.{key}"), path.to_owned())));
    }
    files
}

/// Is state kept in files of the handler?
pub fn is_stateful(subject: &Subject) -> bool {
    subject.handler.has_embedded_store()
}

/// Stores whose server has a password, which is in the settings.
pub fn passwords(subject: &Subject) -> Vec<String> {
    let stores = subject.handler.keyvalue.iter();
    let has_password = |at: &StoreAddress| matches!(at, StoreAddress::Redis(server) if server.password.is_some());
    let found = stores.filter(|store| has_password(&store.at));
    found.map(|store| format!("keyvalue.{}", store.name)).collect()
}

/// What to know of the settings in a manifest, as a comment.
pub fn warnings(subject: &Subject) -> String {
    let mut text = String::new();
    for (setting, path) in files(subject) {
        text += &comment(&format!("{setting} names {path}, which the image must have."));
    }
    for setting in passwords(subject) {
        text += &comment(&format!(
            "The settings below have the password of {setting}: keep this file as you keep that."
        ));
    }
    text
}
