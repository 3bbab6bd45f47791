//! Socket units that people wrote, and which are open. The files are read: asking the service manager for the addresses
//! of a thousand units takes half a second.

use crate::scope::Scope;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use wasm_sock_activation::handler_name;

/// The file of a socket unit whose service is one of ours.
#[derive(Debug, PartialEq, Eq)]
pub struct SocketFile {
    pub unit: String,
    pub handler: String,
    /// As in `listen`: `7000`, `udp:53`, `unix:/run/x`.
    pub addresses: Vec<String>,
}

/// The socket units of wasm-sock in the directories of units. Drop-ins are not read.
pub fn socket_files(scope: Scope) -> Vec<SocketFile> {
    let (mut seen, mut found) = (BTreeSet::new(), Vec::new());
    for directory in scope.unit_directories() {
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            // A unit in a directory that comes first wins.
            if name.ends_with(".socket") && seen.insert(name.clone()) {
                found.extend(read(&directory.join(&name), &name));
            }
        }
    }
    found
}

fn read(path: &Path, unit: &str) -> Option<SocketFile> {
    // Most are of others, and a template has no sockets.
    let text = fs::read_to_string(path).ok().filter(|_| !unit.contains("@."))?;
    parse(&text, unit)
}

/// Reads a unit file (`systemd.syntax(7)`), if its service is one of ours.
fn parse(text: &str, unit: &str) -> Option<SocketFile> {
    let stem = unit.strip_suffix(".socket")?;
    let (mut service, mut name, mut is_accepting) = (None, None, false);
    let mut addresses = Vec::new();
    for line in text.lines().map(str::trim) {
        let Some((key, value)) = line.split_once('=').filter(|_| !line.starts_with(['#', ';'])) else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        match key {
            "Service" => service = Some(value.to_owned()),
            "FileDescriptorName" => name = Some(value.to_owned()),
            "Accept" => is_accepting = ["yes", "true", "on", "1"].contains(&value),
            _ => {
                if let Some(kind) = kind(key) {
                    match value {
                        // An empty value takes the ones before away.
                        "" => addresses.clear(),
                        value => addresses.push(address(kind, value)),
                    }
                }
            }
        }
    }
    let template = stem.split_once('@').map_or(stem, |(template, _)| template);
    let is_ours = match &service {
        Some(service) => service.starts_with("wasm-sock.") || service.starts_with("wasm-sock@"),
        None => template == "wasm-sock" || is_accepting && template.starts_with("wasm-sock-"),
    };
    let instance = stem.split_once('@').map_or("", |(_, instance)| instance);
    let expand = |text: String| text.replace("%i", instance).replace("%I", instance).replace("%%", "%");
    let handler = match name {
        Some(name) => handler_name(&expand(name)).to_owned(),
        // Without a name, a connection has that of every other one, and the service tells which handler is meant.
        None if is_accepting => template.strip_prefix("wasm-sock-").unwrap_or(template).to_owned(),
        None => handler_name(unit).to_owned(),
    };
    (is_ours && !addresses.is_empty()).then(|| SocketFile {
        unit: unit.to_owned(),
        handler,
        addresses: addresses.into_iter().map(expand).collect(),
    })
}

/// What `listen` calls such a socket, for internet addresses and for paths.
fn kind(key: &str) -> Option<(&'static str, &'static str)> {
    match key {
        "ListenStream" => Some(("", "unix:")),
        "ListenDatagram" => Some(("udp:", "datagrams:")),
        "ListenSequentialPacket" => Some(("packets:", "packets:")),
        _ => None,
    }
}

fn address((internet, unix): (&str, &str), value: &str) -> String {
    match value {
        path if path.starts_with(['/', '@']) => format!("{unix}{path}"),
        vsock if vsock.starts_with("vsock:") => vsock.to_owned(),
        address => format!("{internet}{address}"),
    }
}

/// The states of all socket units (`ActiveState`), by their names: one call, whose answer has all of them. Empty if no
/// service manager answers.
pub fn active_states(scope: Scope) -> BTreeMap<String, String> {
    let mut systemctl = Command::new("systemctl");
    if scope.is_user() {
        systemctl.arg("--user");
    }
    systemctl.args([
        "list-units",
        "--type=socket",
        "--all",
        "--full",
        "--plain",
        "--no-legend",
        "--no-pager",
    ]);
    systemctl.stdin(Stdio::null()).stderr(Stdio::null());
    let Ok(output) = systemctl.output() else {
        return BTreeMap::new();
    };
    let text = String::from_utf8_lossy(&output.stdout);
    // UNIT LOAD ACTIVE SUB DESCRIPTION
    let units = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?.to_owned(), words.nth(1)?.to_owned()))
    });
    units.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(unit: &str, text: &str) -> Option<(String, Vec<String>)> {
        parse(text, unit).map(|file| (file.handler, file.addresses))
    }

    #[test]
    fn units_that_people_wrote_tell_their_handler_and_their_addresses() {
        let text = "[Socket]\n# ListenStream=1\nListenStream=7000\nListenDatagram = 127.0.0.1:53\n\
            ListenStream=/run/%i\nListenSequentialPacket=/run/p\nListenStream=vsock::9\nService=wasm-sock.service\n";
        let addresses = ["7000", "udp:127.0.0.1:53", "unix:/run/", "packets:/run/p", "vsock::9"];
        let addresses = addresses.map(str::to_owned).to_vec();
        assert_eq!(found("hello.socket", text), Some(("hello".into(), addresses)));
        let own = "[Socket]\nListenStream=1\nListenStream=\nListenStream=2\n";
        assert_eq!(
            found("wasm-sock@a.b.socket", own),
            Some(("a.b".into(), vec!["2".into()]))
        );
        let named = "[Socket]\nListenStream=1\nService=wasm-sock@x.service\nFileDescriptorName=dns\n";
        assert_eq!(found("any.socket", named), Some(("dns".into(), vec!["1".into()])));
        let accepting = "[Socket]\nListenStream=1\nAccept=yes\n";
        assert_eq!(
            found("wasm-sock-echo.socket", accepting),
            Some(("echo".into(), vec!["1".into()]))
        );
    }

    #[test]
    fn units_of_others_are_left_out() {
        assert_eq!(found("dbus.socket", "[Socket]\nListenStream=/run/dbus\n"), None);
        assert_eq!(
            found("x.socket", "[Socket]\nListenStream=1\nService=nginx.service\n"),
            None
        );
        assert_eq!(found("wasm-sock@a.socket", ""), None);
    }
}
