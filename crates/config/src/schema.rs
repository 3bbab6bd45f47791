//! The schema of the configuration files: which keys each table has, and where their values go.
//!
//! The file is walked as a tree with positions instead of being deserialised with serde: serde stops at the first
//! error, and the user needs all of them.

#[cfg(test)]
mod mistakes;
mod outgoing;
#[cfg(test)]
mod properties;
mod service;
mod stores;
#[cfg(test)]
mod tests;
mod tls;
mod values;

use std::collections::btree_map::Entry;

use toml::de::{DeTable, DeValue};

use super::checker::{Checker, Key, Value};
use super::error::{ConfigError, Location, quoted};
use super::settings::{self, keys};
use super::source::SourceFile;
use super::suggest::closest;
use super::value;
use super::{Access, Config, DirGrant, HandlerConfig, HostConfig, Http, Limits, valid_handler_name};

/// The kind of configuration file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Role<'a> {
    /// `wasm-sock.toml`: may have all tables.
    Main,
    /// `handlers.d/NAME.toml`: may have only the table of this handler, so that it is found by the file's name.
    DropIn(&'a str),
}

/// The keys that a table knows.
type Keys = &'static [&'static str];

const MAIN_FILE: Keys = &["host", "defaults", "handler"];
const DROP_IN: Keys = &["handler"];
const HOST: Keys = &keys::<{ settings::HOST.len() }>(settings::HOST);
const DEFAULTS: Keys = &keys::<{ settings::DEFAULTS.len() }>(settings::DEFAULTS);
/// What only a handler has; the rest of its keys are the defaults'.
const HANDLER_ONLY: Keys = &keys::<{ settings::HANDLER.len() }>(settings::HANDLER);
const HANDLER: Keys = &handler_keys();
const DIR: Keys = &keys::<{ settings::DIR.len() }>(settings::DIR);
const STORE: Keys = &keys::<{ settings::STORE.len() }>(settings::STORE);
const SOCKET: Keys = &keys::<{ settings::SOCKET.len() }>(settings::SOCKET);

const fn handler_keys() -> [&'static str; HANDLER_ONLY.len() + DEFAULTS.len()] {
    let mut keys = [""; HANDLER_ONLY.len() + DEFAULTS.len()];
    let (own, shared) = keys.split_at_mut(HANDLER_ONLY.len());
    own.copy_from_slice(HANDLER_ONLY);
    shared.copy_from_slice(DEFAULTS);
    keys
}

/// The tables that a misplaced key may belong in; the message names the first that has the key.
const TABLES: [(&str, Keys); 3] = [("[host]", HOST), ("[defaults]", DEFAULTS), ("[handler.NAME]", HANDLER)];

/// Reads `source` into `config` and returns all errors, by position. After an error `config` is incomplete: the part
/// that the error concerns must not be used.
pub(super) fn check(source: &SourceFile, role: Role<'_>, config: &mut Config) -> Vec<ConfigError> {
    let (document, syntax_errors) = DeTable::parse_recoverable(&source.text);
    let mut checker = Checker::new(source, &syntax_errors);
    checker.document(document.get_ref(), role, config);
    checker.into_errors()
}

impl Checker<'_> {
    /// Reads all tables: `[host]` and `[defaults]` first, regardless of their order in the file, because handlers
    /// depend on them.
    fn document(&mut self, document: &DeTable<'_>, role: Role<'_>, config: &mut Config) {
        for (key, value) in document {
            match (key.get_ref().as_ref(), role) {
                ("handler", _) => {}
                ("host", Role::Main) => self.host(key, value, &mut config.host),
                ("defaults", Role::Main) => self.defaults(key, value, config),
                ("host" | "defaults", Role::DropIn(_)) => {
                    let message = format!(
                        "[{}] belongs in wasm-sock.toml (allowed in handlers.d: [handler.NAME])",
                        key.get_ref()
                    );
                    self.error(key.span(), message);
                }
                (_, Role::Main) => self.unknown(key, MAIN_FILE),
                (_, Role::DropIn(_)) => self.unknown(key, DROP_IN),
            }
        }
        if let Some((key, value)) = document.get_key_value("handler") {
            self.handlers(key, value, role, config);
        }
    }

    fn host(&mut self, key: &Key<'_>, value: &Value<'_>, host: &mut HostConfig) {
        for (key, value) in self.table(key, value) {
            match key.get_ref().as_ref() {
                "idle-timeout" => {
                    self.set(&mut host.idle_timeout, key, value, value::idle_timeout);
                }
                "drain-timeout" => self.set(&mut host.drain_timeout, key, value, value::duration),
                "modules" => self.set(&mut host.modules, key, value, value::absolute_path),
                "stack" => self.set(&mut host.stack, key, value, value::stack),
                "max-memory" => self.set(&mut host.max_memory, key, value, value::max_memory),
                "max-connections" => self.set(&mut host.max_connections, key, value, value::bound),
                "require-sandbox" => self.set(&mut host.require_sandbox, key, value, value::boolean),
                "reload" => self.set(&mut host.reload, key, value, value::reload),
                "when-idle" => self.set(&mut host.when_idle, key, value, value::when_idle),
                _ => self.unknown(key, HOST),
            }
        }
    }

    fn defaults(&mut self, key: &Key<'_>, value: &Value<'_>, config: &mut Config) {
        for (key, value) in self.table(key, value) {
            let known = self.limit(key, value, &mut config.defaults)
                || self.http(key, value, &mut config.http)
                || self.logging(key, value, &mut config.logging);
            if !known {
                self.unknown(key, DEFAULTS);
            }
        }
    }

    /// Reads `key` if it is one of the limits; returns whether it is.
    fn limit(&mut self, key: &Key<'_>, value: &Value<'_>, limits: &mut Limits) -> bool {
        match key.get_ref().as_ref() {
            "memory" => self.set(&mut limits.memory, key, value, value::memory),
            "timeout" => self.set(&mut limits.timeout, key, value, value::time_limit),
            "cpu-time" => self.set(&mut limits.cpu_time, key, value, value::time_limit),
            "idle-connection-timeout" => {
                self.set(
                    &mut limits.idle_connection_timeout,
                    key,
                    value,
                    value::idle_connection_timeout,
                );
            }
            "max-output" => {
                self.set(&mut limits.max_output, key, value, value::size_bound);
            }
            "max-datagram" => {
                self.set(&mut limits.max_datagram, key, value, value::max_datagram);
            }
            "table-elements" => {
                self.set(&mut limits.table_elements, key, value, value::count);
            }
            "max-connections" => {
                self.set(&mut limits.max_connections, key, value, value::count);
            }
            "max-connections-per-source" => {
                self.set(&mut limits.max_connections_per_source, key, value, value::bound);
            }
            "max-log" => self.set(&mut limits.max_log, key, value, value::bound),
            _ => return false,
        }
        true
    }

    /// Reads `key` if it is one of the HTTP settings; returns whether it is.
    fn http(&mut self, key: &Key<'_>, value: &Value<'_>, http: &mut Http) -> bool {
        match key.get_ref().as_ref() {
            "head-timeout" => self.set(&mut http.head_timeout, key, value, value::head_timeout),
            "keep-alive" => self.set(&mut http.keep_alive, key, value, value::idle_timeout),
            "max-head" => self.set(&mut http.max_head, key, value, value::max_head),
            "max-body" => self.set(&mut http.max_body, key, value, value::size),
            "reuse" => self.set(&mut http.reuse, key, value, value::count),
            "concurrency" => self.set(&mut http.concurrency, key, value, value::count),
            "forwarded-for" => self.set(&mut http.forwarded_for, key, value, value::forwarded_for),
            _ => return false,
        }
        true
    }

    fn handlers(&mut self, key: &Key<'_>, value: &Value<'_>, role: Role<'_>, config: &mut Config) {
        for (key, value) in self.table(key, value) {
            let name = key.get_ref().as_ref();
            if let Role::DropIn(own) = role
                && own != name
            {
                self.misplaced(key, own);
                continue;
            }
            self.handler = Some(name.to_owned());
            if !valid_handler_name(name) {
                let message = format!(
                    "{} cannot name a handler (allowed, as in FileDescriptorName=: 1 to 255 \
                     printable ASCII characters without \":\" and \"/\", not \".\" or \"..\")",
                    quoted(name)
                );
                self.error(key.span(), message);
            }
            let mut handler = self.handler(key, value, config);
            handler.has_unit_mistake |= !valid_handler_name(name) || self.syntax_may_hide(DEFAULTS);
            match config.handlers.entry(name.to_owned()) {
                Entry::Vacant(entry) => {
                    entry.insert(handler);
                }
                Entry::Occupied(entry) => self.defined_twice(key, entry.get().location.as_ref()),
            }
            self.handler = None;
        }
    }

    /// Reports a handler in the file of another.
    fn misplaced(&mut self, key: &Key<'_>, own: &str) {
        let name = key.get_ref();
        let message = format!(
            "handler {} is in the file of handler {}, and is not found there (move it to handlers.d/{name}.toml, or to \
             wasm-sock.toml)",
            quoted(name),
            quoted(own)
        );
        self.error(key.span(), message);
    }

    fn defined_twice(&mut self, key: &Key<'_>, first: Option<&Location>) {
        let name = quoted(key.get_ref());
        let first = first.map_or(String::new(), |location| format!("first at {location}; "));
        let message = format!("handler {name} is defined twice ({first}remove one)");
        self.error(key.span(), message);
    }

    fn handler(&mut self, key: &Key<'_>, value: &Value<'_>, config: &Config) -> HandlerConfig {
        let mut handler = HandlerConfig {
            limits: config.defaults,
            http: config.http,
            logging: config.logging,
            location: Some(self.location(key)),
            ..HandlerConfig::default()
        };
        let (own, table) = (key, value);
        let mut tls = tls::Settings::default();
        for (key, value) in self.table(key, value) {
            match key.get_ref().as_ref() {
                "module" => {
                    let read = |value: &DeValue<'_>| {
                        let path = value::module(value)?;
                        Ok(Some(config.host.modules.join(path)))
                    };
                    self.set(&mut handler.module, key, value, read);
                }
                "args" => handler.args = self.list(key, value, value::string),
                "env" => handler.env = self.env(key, value),
                "dirs" => handler.dirs = self.dirs(key, value),
                "allow-outbound" => {
                    handler.allow_outbound = self.list(key, value, value::outbound);
                }
                "outbound" => self.outbound_limits(key, value, &mut handler.outbound),
                "keyvalue" => handler.keyvalue = self.stores(key, value),
                "keyvalue-quota" => self.set(&mut handler.keyvalue_quota, key, value, value::keyvalue_quota),
                "tls-roots" | "tls-certificate" | "tls-key" => self.tls(key, value, &mut tls),
                _ if self.limit(key, value, &mut handler.limits) => {}
                _ if self.http(key, value, &mut handler.http) => {}
                _ if self.logging(key, value, &mut handler.logging) => {}
                _ if self.service(key, value, &mut handler) => {}
                _ if self.values(key, value, &mut handler) => {}
                _ => self.unknown(key, HANDLER),
            }
        }
        handler.tls = self.tls_files(own, tls);
        self.sockets(own, table, &mut handler);
        self.ambiguous(table, &handler);
        handler
    }

    fn env(&mut self, key: &Key<'_>, value: &Value<'_>) -> Vec<(String, String)> {
        let mut variables = Vec::new();
        for (key, value) in self.table(key, value) {
            if let Err(message) = value::environment_name(key.get_ref()) {
                self.error(key.span(), message);
            }
            let mut content = String::new();
            self.set(&mut content, key, value, value::string);
            variables.push((key.get_ref().to_string(), content));
        }
        variables
    }

    fn dirs(&mut self, key: &Key<'_>, value: &Value<'_>) -> Vec<DirGrant> {
        let mut grants: Vec<DirGrant> = Vec::new();
        for value in self.array(key, value) {
            let Some(grant) = self.dir_grant(key, value) else {
                continue;
            };
            if grants.iter().any(|other| other.guest == grant.guest) {
                let guest = quoted(&grant.guest);
                let message = format!("guest {guest} is granted twice (remove one)");
                self.wrong(key, value, &message);
            }
            grants.push(grant);
        }
        grants
    }

    fn dir_grant(&mut self, key: &Key<'_>, value: &Value<'_>) -> Option<DirGrant> {
        let (mut host, mut guest, mut access) = (None, None, Access::default());
        for (key, value) in self.table(key, value) {
            match key.get_ref().as_ref() {
                "host" => self.set(&mut host, key, value, |v| value::absolute_path(v).map(Some)),
                "guest" => self.set(&mut guest, key, value, |v| value::guest_path(v).map(Some)),
                "access" => self.set(&mut access, key, value, value::access),
                _ => self.unknown(key, DIR),
            }
        }
        for required in ["host", "guest"] {
            let table = value.get_ref().as_table();
            if table.is_some_and(|table| !table.contains_key(required)) {
                let example = "{ host = \"/srv/hello\", guest = \"/data\" }";
                let message = format!("\"{required}\" is missing (as in {example})");
                self.wrong(key, value, &message);
            }
        }
        Some(DirGrant {
            host: host?,
            guest: guest?,
            access,
        })
    }

    /// Reports an unknown key, with the keys that are allowed `here`.
    fn unknown(&mut self, key: &Key<'_>, here: Keys) {
        self.unknown_with(key, here, "");
    }

    /// As [`Checker::unknown`], with `more` that is allowed.
    fn unknown_with(&mut self, key: &Key<'_>, here: Keys, more: &str) {
        let name = key.get_ref().as_ref();
        let elsewhere = TABLES.iter().find(|(_, keys)| keys.contains(&name));
        let meant = match (elsewhere, closest(name, here)) {
            (Some((table, _)), _) => format!("it belongs in {table}; "),
            (None, Some(known)) => format!("did you mean \"{known}\"? "),
            (None, None) => String::new(),
        };
        let name = quoted(name);
        let allowed = here.join(", ");
        let message = format!("unknown key {name} ({meant}allowed: {allowed}{more})");
        self.error(key.span(), message);
    }
}
