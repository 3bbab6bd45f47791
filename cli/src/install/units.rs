//! The units that systemd's generator will make of the handler's settings, and the services that they start.

use crate::host_program;
use std::path::Path;
use wasm_sock_config::{HandlerConfig, Process};
use wasm_sock_units::{Installation, Unit, service_name, sockets, units_of};

/// The units of a handler. None if it is disabled.
///
/// # Errors
/// When no unit can have such a name.
pub fn of(name: &str, config: &HandlerConfig, is_user: bool) -> Result<Vec<Unit>, String> {
    // `PREFIX/bin/wasm-sock`; it is only in the text of units, which the generator writes itself.
    let host = host_program::path().unwrap_or_default();
    let prefix = host.ancestors().nth(2).unwrap_or(Path::new("/usr"));
    // Nor does it matter here where the credentials of a user are.
    let installation = Installation {
        prefix,
        is_user,
        config_home: None,
    };
    units_of(name, config, installation).map_err(|error| error.to_string())
}

/// Those of the units that are started: sockets and timers.
pub fn started(units: &[Unit]) -> impl Iterator<Item = &Unit> {
    units.iter().filter(|unit| unit.wanted_by.is_some())
}

/// Do both make the same socket or timer? What the units of other addresses add to a unit's dependencies counts only
/// when it starts.
pub fn is_same(one: &Unit, other: &Unit) -> bool {
    fn own(unit: &Unit) -> impl Iterator<Item = &str> {
        let sections = |line: &&str| !["[Socket]", "[Timer]"].contains(line);
        unit.text.lines().skip_while(sections)
    }
    one.name == other.name && own(one).eq(own(other))
}

/// The services that serve a handler. Those with an instance for each connection are patterns (`systemctl(1)`).
pub fn services(name: &str, config: &HandlerConfig) -> Vec<String> {
    if config.process != Process::Connection {
        return vec![service_name(name, config.process)];
    }
    let sockets = sockets(name, config);
    let stems = sockets.iter().filter_map(|(unit, _)| unit.strip_suffix(".socket"));
    // In a pattern, a backslash quotes what follows it.
    stems
        .map(|stem| format!("{}@*.service", stem.replace('\\', "\\\\")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_sock_config::Listen;

    fn config(addresses: &[&str]) -> HandlerConfig {
        HandlerConfig {
            listen: addresses
                .iter()
                .map(|address| Listen::parse(address).unwrap())
                .collect(),
            ..HandlerConfig::default()
        }
    }

    #[test]
    fn another_address_leaves_the_first_ones_socket_the_same() {
        let one = of("a", &config(&["7000"]), false).unwrap();
        let two = of("a", &config(&["7000", "7001"]), false).unwrap();
        assert!(is_same(&one[0], &two[0]));
        let moved = of("a", &config(&["7001"]), false).unwrap();
        assert!(!is_same(&one[0], &moved[0]));
    }

    #[test]
    fn a_service_for_each_connection_is_a_pattern() {
        let config = HandlerConfig {
            process: Process::Connection,
            ..config(&["7000"])
        };
        assert_eq!(services("a-b", &config), [r"wasm-sock-a\\x2db@*.service"]);
    }
}
