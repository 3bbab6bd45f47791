//! Compares what `listen` asks for with the socket units that systemd knows.

use super::units::SocketUnit;
use std::collections::{BTreeMap, BTreeSet};
use wasm_sock_config::{Config, Listen};
use wasm_sock_units::{check_name, sockets};

/// Handlers whose names no unit can have.
pub fn problems(config: &Config) -> Vec<String> {
    let enabled = config.handlers.iter().filter(|(_, handler)| handler.enabled);
    let with_units =
        enabled.filter(|(_, handler)| !handler.listen.is_empty() || !handler.schedule.calendar.is_empty());
    let errors = with_units.filter_map(|(name, handler)| Some((name, check_name(name, handler.process).err()?)));
    errors
        .map(|(name, error)| format!("{name}: {error} (choose another name)"))
        .collect()
}

/// The socket units that there should be.
pub fn expected(config: &Config) -> Vec<String> {
    let enabled = config.handlers.iter().filter(|(_, handler)| handler.enabled);
    let units = enabled.flat_map(|(name, handler)| sockets(name, handler));
    units.map(|(unit, _)| unit).collect()
}

/// What systemd does not do yet, or any more, of what the configuration says. `loaded` are the units it knows,
/// and `is_open` tells whether there is a socket at an address.
pub fn warnings(config: &Config, loaded: &[SocketUnit], is_open: impl Fn(&Listen) -> bool) -> Vec<String> {
    let known: BTreeMap<&str, &SocketUnit> = loaded.iter().map(|unit| (unit.name.as_str(), unit)).collect();
    let mut warnings = Vec::new();
    let mut expected = BTreeSet::new();
    for (name, handler) in config.handlers.iter().filter(|(_, handler)| handler.enabled) {
        for (unit, listen) in sockets(name, handler) {
            match known.get(unit.as_str()) {
                Some(found) => warnings.extend(warning(found, &listen.to_string(), is_open(listen))),
                None => warnings.push(format!(
                    "{unit}: systemd does not know it yet, and nothing listens at {listen} (systemctl daemon-reload; \
                     systemctl start '{unit}')"
                )),
            }
            expected.insert(unit);
        }
    }
    for unit in loaded
        .iter()
        .filter(|unit| unit.is_active && !expected.contains(&unit.name))
    {
        // A unit whose file is gone has lost its sockets, too, unless its service runs.
        let is_ours = unit.is_generated() || unit.file.is_empty();
        if is_ours && unit.name.starts_with("wasm-sock") {
            let (unit, handler) = (&unit.name, &unit.handler);
            warnings.push(format!(
                "{unit}: the configuration of {handler} has no such address any more (systemctl stop '{unit}'; \
                 systemctl daemon-reload)"
            ));
        }
    }
    warnings
}

fn warning(unit: &SocketUnit, address: &str, is_open: bool) -> Option<String> {
    let SocketUnit { name, file, .. } = unit;
    if !unit.is_generated() && !file.is_empty() {
        return Some(format!(
            "{name}: {file} is used, and not \"listen\" of the configuration, which has {address} (remove one of \
             them, then systemctl daemon-reload)"
        ));
    }
    if unit.is_outdated {
        return Some(format!(
            "{name}: its file has changed since systemd read it (systemctl daemon-reload; if its own address has \
             changed: systemctl restart '{name}')"
        ));
    }
    // A unit that was gone for a while, because of a mistake in its file, has lost its socket.
    if unit.is_active && !is_open {
        return Some(format!(
            "{name}: systemd has closed its socket at {address} when the unit changed (systemctl restart '{name}')"
        ));
    }
    if !unit.is_active {
        return Some(format!(
            "{name}: nothing listens at {address} (systemctl start '{name}')"
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_sock_config::{Config, Environment};

    fn config(text: &str) -> Config {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("wasm-sock.toml");
        std::fs::write(&file, text).unwrap();
        let environment = Environment {
            user_manager: false,
            variable: &|_| None,
        };
        Config::load(Some(&file), &environment).unwrap()
    }

    fn unit(name: &str, folder: &str) -> SocketUnit {
        SocketUnit {
            name: name.into(),
            handler: "a".into(),
            file: format!("{folder}/{name}"),
            is_active: true,
            ..SocketUnit::default()
        }
    }

    const GENERATED: &str = "/run/systemd/generator";
    const FIRST: &str = "wasm-sock@a.socket";

    #[test]
    fn what_is_as_configured_is_not_mentioned() {
        let config =
            config("[handler.a]\nlisten = ['7000', '7001']\n[handler.off]\nlisten = '7002'\nenabled = false");
        let second = unit("wasm-sock@a:7001.socket", GENERATED);
        assert_eq!(warnings(&config, &[unit(FIRST, GENERATED), second], |_| true), [""; 0]);
    }

    #[test]
    fn each_way_in_which_systemd_differs_is_told_with_what_to_do() {
        let config = config("[handler.a]\nlisten = '7000'");
        let told = |unit: SocketUnit| warnings(&config, &[unit], |_| true).concat();
        assert_eq!(
            warnings(&config, &[], |_| false),
            [
                "wasm-sock@a.socket: systemd does not know it yet, and nothing listens at 7000 (systemctl daemon-reload; \
              systemctl start 'wasm-sock@a.socket')"
            ]
        );
        assert_eq!(
            told(unit(FIRST, "/etc/systemd/system")),
            "wasm-sock@a.socket: /etc/systemd/system/wasm-sock@a.socket is used, and not \"listen\" of the \
             configuration, which has 7000 (remove one of them, then systemctl daemon-reload)"
        );
        let outdated = SocketUnit {
            is_outdated: true,
            ..unit(FIRST, GENERATED)
        };
        assert!(told(outdated).contains("has changed since systemd read it (systemctl daemon-reload;"));
        assert_eq!(
            warnings(&config, &[unit(FIRST, GENERATED)], |_| false),
            [
                "wasm-sock@a.socket: systemd has closed its socket at 7000 when the unit changed (systemctl restart \
              'wasm-sock@a.socket')"
            ]
        );
        let stopped = SocketUnit {
            is_active: false,
            ..unit(FIRST, GENERATED)
        };
        assert_eq!(
            told(stopped),
            "wasm-sock@a.socket: nothing listens at 7000 (systemctl start 'wasm-sock@a.socket')"
        );
    }

    #[test]
    fn a_socket_that_is_not_configured_any_more_is_told() {
        let config = config("[handler.a]\nlisten = '7000'");
        let left = unit("wasm-sock@a:7001.socket", GENERATED);
        let written = unit("mine.socket", "/etc/systemd/system");
        assert_eq!(
            warnings(&config, &[unit(FIRST, GENERATED), left, written], |_| true),
            [
                "wasm-sock@a:7001.socket: the configuration of a has no such address any more \
              (systemctl stop 'wasm-sock@a:7001.socket'; systemctl daemon-reload)"
            ]
        );
    }

    #[test]
    fn a_name_that_no_unit_can_have_is_a_problem() {
        let name = "-".repeat(60);
        let wrong = problems(&config(&format!("[handler.{name}]\nlisten = '7000'\n[handler.b]")));
        assert_eq!(wrong.len(), 1);
        assert!(wrong[0].contains("is too long for units: 240 bytes"), "{wrong:?}");
    }
}
