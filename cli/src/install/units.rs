//! The units that systemd's generator will make of the handler's settings, and the services that they start.

use wasm_sock_config::{HandlerConfig, Process};

/// A unit that will be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    pub name: String,
    pub text: String,
}

/// The units of a handler's sockets and timers. None if it is disabled.
pub fn of(name: &str, config: &HandlerConfig) -> Vec<Unit> {
    if !config.enabled {
        return Vec::new();
    }
    let mut units = Vec::new();
    for (index, listen) in config.listen.iter().enumerate() {
        let name = match index {
            0 => name.to_owned(),
            _ => format!("{name}:{}", escape(&listen.canonical())),
        };
        units.push(Unit {
            name: format!("wasm-sock@{name}.socket"),
            text: format!("{}={}\n", listen.directive(), listen.systemd_address()),
        });
    }
    units
}

/// The service that serves a handler. One that is an instance for each connection has a pattern.
pub fn service(name: &str, process: Process) -> String {
    let escaped = escape(name);
    match process {
        Process::Own => format!("wasm-sock@{escaped}.service"),
        Process::Shared => "wasm-sock.service".to_owned(),
        Process::Connection => format!("wasm-sock-{escaped}@*.service"),
    }
}

fn escape(text: &str) -> String {
    text.to_owned()
}
