//! What systemd knows: units that people wrote, sockets of others, the service's user, the generator.

use crate::installation::systemd::Systemd;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use wasm_sock_config::{Listen, ListenAddress};

/// The program that makes units of the configuration (`systemd.generator(7)`).
const GENERATOR: &str = "wasm-sock-generator";

/// Where systemd looks for generators, below each of these.
const PREFIXES: [&str; 4] = ["/run", "/etc", "/usr/local/lib", "/usr/lib"];

/// A unit, as systemd knows it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Unit {
    pub name: String,
    /// Its file; empty if there is none.
    pub file: PathBuf,
    pub is_active: bool,
    pub is_masked: bool,
    /// `[::]:7000 (Stream)` and the like, for sockets.
    pub listens: Vec<String>,
}

impl Unit {
    /// Did people write it? Those of the generator are in folders of their own.
    pub fn is_by_hand(&self) -> bool {
        let file = self.file.to_string_lossy();
        self.is_masked || !(file.is_empty() || file.contains("/generator"))
    }
}

/// Units of these names and patterns.
///
/// # Errors
/// When systemd does not answer.
pub fn units(systemd: &Systemd, names: &[String]) -> Result<Vec<Unit>, String> {
    let shown = systemd.show("Id,FragmentPath,LoadState,ActiveState,Listen", names)?;
    Ok(shown.into_iter().map(unit).collect())
}

fn unit(mut properties: BTreeMap<String, Vec<String>>) -> Unit {
    let mut values = |name: &str| properties.remove(name).unwrap_or_default();
    let mut first = |name: &str| values(name).into_iter().next().unwrap_or_default();
    Unit {
        name: first("Id"),
        file: first("FragmentPath").into(),
        is_active: !matches!(first("ActiveState").as_str(), "" | "inactive" | "failed"),
        is_masked: first("LoadState") == "masked",
        listens: values("Listen"),
    }
}

/// The socket unit among `units` that has this address.
pub fn listening_at<'a>(listen: &Listen, units: &'a [Unit]) -> Option<&'a Unit> {
    let kind = match listen.directive() {
        "ListenStream" => "Stream",
        "ListenDatagram" => "Datagram",
        _ => "SequentialPacket",
    };
    // A port that is taken with one address is taken with another, too: the kernel has said so.
    let matches = |shown: &String| {
        let (address, shown_kind) = shown.rsplit_once(' ').unwrap_or((shown, ""));
        match &listen.address {
            ListenAddress::Port(port) | ListenAddress::Ip(_, port) => {
                shown_kind == format!("({kind})") && address.ends_with(&format!(":{port}"))
            }
            _ => address == listen.systemd_address(),
        }
    };
    units
        .iter()
        .filter(|unit| unit.is_active)
        .find(|unit| unit.listens.iter().any(matches))
}

/// Is the generator installed, for the system's manager or for users'?
pub fn has_generator(user: bool) -> bool {
    let folder = if user {
        "systemd/user-generators"
    } else {
        "systemd/system-generators"
    };
    let path = |prefix: &&str| Path::new(prefix).join(folder).join(GENERATOR);
    PREFIXES
        .iter()
        .any(|prefix| fs::metadata(path(prefix)).is_ok_and(|file| file.is_file()))
}

/// The user of a service.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ServiceUser {
    /// `User=`; empty: root.
    pub user: String,
    /// `Group=`; empty: the user's.
    pub group: String,
    /// `SupplementaryGroups=`
    pub groups: String,
}

/// The user of a service; `None`: the service is not installed.
///
/// # Errors
/// When systemd does not answer.
pub fn user_of(systemd: &Systemd, service: &str) -> Result<Option<ServiceUser>, String> {
    let shown = systemd.show("LoadState,User,Group,SupplementaryGroups", &[service.to_owned()])?;
    let Some(service) = shown.first() else {
        return Ok(None);
    };
    let value = |name: &str| {
        service
            .get(name)
            .and_then(|values| values.first())
            .cloned()
            .unwrap_or_default()
    };
    let user = ServiceUser {
        user: value("User"),
        group: value("Group"),
        groups: value("SupplementaryGroups"),
    };
    Ok((value("LoadState") == "loaded").then_some(user))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_by_hand_unless_the_generator_made_it() {
        let at = |file: &str| Unit {
            file: file.into(),
            ..Unit::default()
        };
        assert!(at("/etc/systemd/system/wasm-sock@a.socket").is_by_hand());
        assert!(!at("/run/systemd/generator/wasm-sock@a.socket").is_by_hand());
        assert!(!at("/run/user/1000/systemd/generator.late/wasm-sock@a.socket").is_by_hand());
        assert!(!at("").is_by_hand());
    }

    #[test]
    fn the_unit_at_a_port_is_found() {
        let unit = |listens: &str, is_active| Unit {
            name: listens.to_owned(),
            listens: vec![listens.to_owned()],
            is_active,
            ..Unit::default()
        };
        let units = ["[::]:7000 (Datagram)", "127.0.0.1:17000 (Stream)", "[::]:7000 (Stream)"];
        let units: Vec<Unit> = units.iter().map(|listens| unit(listens, true)).collect();
        let found = |address: &str| Some(&*listening_at(&Listen::parse(address).unwrap(), &units)?.name);
        assert_eq!(found("7000"), Some("[::]:7000 (Stream)"));
        assert_eq!(found("udp:127.0.0.1:7000"), Some("[::]:7000 (Datagram)"));
        assert_eq!(found("unix:/run/a"), None);
    }
}
