//! A manifest for Spin (<https://spinframework.dev>), version 2: for HTTP components, in Spin itself and, by
//! `spin kube`, in SpinKube.

use super::subject::Subject;
use super::{command, comment, losses, settings};
use toml::{Table, Value};
use wasm_sock_config::{Access, KeyValue, StoreAddress};

/// The `spin.toml`. The module is expected beside it.
///
/// # Errors
/// When Spin cannot serve it.
pub fn manifest(subject: &Subject) -> Result<String, String> {
    let (name, label) = (&subject.name, &identifier(&subject.label));
    if !subject.is_http {
        return Err(format!(
            "{name}: Spin serves HTTP components only (kubernetes, nomad and container serve bytes, too)"
        ));
    }
    let mut lost = subject.lost();
    let mut component = Table::new();
    component.insert("source".to_owned(), format!("{label}.wasm").into());
    let mut variables = Table::new();
    own_variables(subject, &mut component, &mut variables, &mut lost);
    outbound(subject, &mut component, &mut lost);
    folders(subject, &mut component, &mut lost);
    stores(subject, &mut component, &mut lost);
    limits(subject, &mut lost);
    let trigger = Table::from_iter([
        ("route".to_owned(), Value::from("/...")),
        ("component".to_owned(), label.clone().into()),
    ]);
    let application = Table::from_iter([
        ("name".to_owned(), Value::from(label.clone())),
        ("version".to_owned(), "0.1.0".into()),
    ]);
    let mut document = Table::new();
    document.insert("spin_manifest_version".to_owned(), 2.into());
    document.insert("application".to_owned(), application.into());
    if !variables.is_empty() {
        document.insert("variables".to_owned(), variables.into());
    }
    let http = Table::from_iter([("http".to_owned(), Value::from(vec![Value::from(trigger)]))]);
    document.insert("trigger".to_owned(), http.into());
    let components = Table::from_iter([(label.clone(), Value::from(component))]);
    document.insert("component".to_owned(), components.into());
    let document = toml::to_string_pretty(&document).map_err(|error| error.to_string())?;
    let mut text = comment(&format!(
        "{name}, by `wasm-sock export spin`. Beside the module, {label}.wasm:"
    ));
    text += &command(&format!("spin up --listen 0.0.0.0:{}", port(subject)));
    text += &losses("Spin", &lost);
    Ok(text + &document)
}

/// `env`, `config` and `secrets`: Spin has variables of the component, which `wasi:config` reads.
fn own_variables(subject: &Subject, component: &mut Table, variables: &mut Table, lost: &mut Vec<String>) {
    if !subject.handler.env.is_empty() {
        let pairs = subject.handler.env.iter().cloned();
        let environment: Table = pairs.map(|(name, value)| (name, value.into())).collect();
        component.insert("environment".to_owned(), environment.into());
    }
    let mut own = Table::new();
    for (key, value) in settings::table(&subject.table, "config") {
        match value.as_str() {
            _ if !is_variable(&key) => lost.push(format!("config.{key}: no name that a variable of Spin can have")),
            // Spin would take it for one of its expressions.
            Some(text) if text.contains("{{") => lost.push(format!("config.{key}: \"{{{{\" in a value")),
            Some(text) => drop(own.insert(key, text.into())),
            None => {
                let required = Table::from_iter([("required".to_owned(), Value::from(true))]);
                variables.insert(key.clone(), required.into());
                own.insert(key.clone(), format!("{{{{ {key} }}}}").into());
            }
        }
    }
    for key in subject.secrets() {
        if !is_variable(&key) {
            lost.push(format!("secret {key}: no name that a variable of Spin can have"));
            continue;
        }
        let secret = [("required", true), ("secret", true)].map(|(key, value)| (key.to_owned(), Value::from(value)));
        variables.insert(key.clone(), Table::from_iter(secret).into());
        own.insert(key.clone(), format!("{{{{ {key} }}}}").into());
    }
    if !own.is_empty() {
        component.insert("variables".to_owned(), own.into());
    }
}

/// Spin's names of variables: lower-case letters, digits and `_`.
fn is_variable(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name
            .chars()
            .all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
        && !name.ends_with('_')
        && !name.contains("__")
}

/// `allow-outbound`, as far as Spin has the same.
fn outbound(subject: &Subject, component: &mut Table, lost: &mut Vec<String>) {
    let mut hosts = Vec::new();
    for grant in settings::strings(&subject.table, "allow-outbound") {
        match destination(&grant) {
            Some(host) => hosts.push(Value::from(host)),
            None => lost.push(format!(
                "allow-outbound: {grant} (Spin grants hosts and a port, no paths and methods)"
            )),
        }
    }
    if !hosts.is_empty() {
        component.insert("allowed_outbound_hosts".to_owned(), hosts.into());
    }
}

/// `HOST:PORT` for any protocol; a URL without a path.
fn destination(grant: &str) -> Option<String> {
    if let Some((scheme @ ("http" | "https"), rest)) = grant.split_once("://") {
        let host = rest
            .strip_suffix("/*")
            .or_else(|| rest.strip_suffix('/'))
            .unwrap_or(rest);
        return (!host.contains(['/', '*', '?'])).then(|| format!("{scheme}://{host}"));
    }
    let (host, port) = grant.rsplit_once(':')?;
    let is_host = !host.is_empty() && !host.contains([' ', '/']) && !host.starts_with("udp:");
    let is_port = port.parse::<u16>().is_ok();
    (is_host && is_port).then(|| format!("*://{grant}"))
}

/// `dirs`: Spin copies files, which the guest can read.
fn folders(subject: &Subject, component: &mut Table, lost: &mut Vec<String>) {
    let mut files = Vec::new();
    for directory in &subject.handler.dirs {
        let host = directory.host.to_string_lossy().into_owned();
        if directory.access == Access::ReadWrite {
            lost.push(format!("dirs: {host} can be read, and not be written"));
        }
        let file = [("source", host), ("destination", directory.guest.clone())];
        let file = file.map(|(key, value)| (key.to_owned(), Value::from(value)));
        files.push(Value::from(Table::from_iter(file)));
    }
    if !files.is_empty() {
        component.insert("files".to_owned(), files.into());
    }
}

/// `keyvalue`: the same names; where they are is Spin's runtime configuration.
fn stores(subject: &Subject, component: &mut Table, lost: &mut Vec<String>) {
    let stores = &subject.handler.keyvalue;
    for KeyValue { name, at, .. } in stores {
        lost.push(match at {
            StoreAddress::Embedded if name == "default" => {
                "keyvalue: what the embedded store has now; Spin begins with an empty one".to_owned()
            }
            _ => format!("keyvalue.{name}: where it is ([key_value_store.{name}] in Spin's runtime-config.toml)"),
        });
    }
    if !stores.is_empty() {
        let names: Vec<Value> = stores.iter().map(|store| store.name.clone().into()).collect();
        component.insert("key_value_stores".to_owned(), names.into());
    }
}

/// The port of HTTP.
fn port(subject: &Subject) -> u16 {
    let tcp = subject.ports.iter().find(|port| !port.is_udp);
    tcp.map_or(3000, |port| port.number)
}

/// The label as Spin wants it: each word begins with a letter.
pub fn identifier(label: &str) -> String {
    let mut identifier = String::new();
    for word in label.split('-').filter(|word| !word.is_empty()) {
        if !identifier.is_empty() && word.starts_with(|first: char| first.is_ascii_alphabetic()) {
            identifier.push('-');
        }
        identifier += word;
    }
    identifier
}

fn limits(subject: &Subject, lost: &mut Vec<String>) {
    let limits = &subject.handler.limits;
    lost.push(format!(
        "the limits of one request: memory ({} MiB), timeout, cpu-time, max-connections ({}) and those of bodies",
        limits.memory >> 20,
        limits.max_connections
    ));
    if !subject.handler.args.is_empty() {
        lost.push(format!("args: {}", subject.handler.args.join(" ")));
    }
}
