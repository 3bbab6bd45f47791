//! What a handler may reach, by its settings as they are now.

mod public;
mod settings;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use wasm_sock_config::{HandlerConfig, Outbound, Transport, address, allows_to_look_up};
use wasm_sock_egress_protocol::Failure;

pub use public::is_public;
pub use settings::Settings;

/// A host that a guest wants to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    Address(IpAddr),
    /// In lower case, without a final dot.
    Name(String),
}

impl Target {
    pub fn new(host: &str) -> Self {
        match address(host) {
            Some(ip) => Self::Address(ip.to_canonical()),
            None => Self::Name(host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()),
        }
    }
}

/// May the guest connect to this name? Or, for an address: is it named, or found by looking up one of the names in
/// `found` that are?
///
/// # Errors
/// [`Failure::Denied`], with what would allow it.
pub fn check(
    settings: &HandlerConfig,
    target: &Target,
    port: u16,
    transport: Transport,
    found: impl IntoIterator<Item = String>,
) -> Result<(), Failure> {
    let granted = &settings.allow_outbound;
    let names = |name: &str| granted.iter().any(|outbound| outbound.allows(name, port, transport));
    let is_allowed = match target {
        Target::Name(name) => names(name),
        Target::Address(ip) => {
            names_address(granted, *ip, port, transport)
                || is_public(*ip) && found.into_iter().any(|name| names(&name))
        }
    };
    match is_allowed {
        true => Ok(()),
        false => Err(denied(&entry(target, port, transport))),
    }
}

/// Those of the addresses of a name that a guest may connect to: the owner of a domain controls what its names resolve
/// to, so a name gives access to public addresses only (DNS rebinding), and to others that were granted themselves.
///
/// # Errors
/// [`Failure::Denied`] when there is none, with what would allow the first.
pub fn admit(
    settings: &HandlerConfig,
    name: &str,
    addresses: Vec<IpAddr>,
    port: u16,
    transport: Transport,
) -> Result<Vec<IpAddr>, Failure> {
    let granted = &settings.allow_outbound;
    admit_if(
        name,
        addresses,
        |ip| names_address(granted, ip, port, transport),
        |ip| entry(&Target::Address(ip), port, transport),
    )
}

/// As [`admit`], for a lookup by itself, when the port is not known yet.
///
/// # Errors
/// [`Failure::Denied`] when the name was not granted, or has no address that is.
pub fn admit_looked_up(settings: &HandlerConfig, name: &str, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, Failure> {
    let granted = &settings.allow_outbound;
    let is_granted = |ip| granted.iter().any(|outbound| outbound.host.contains(ip));
    admit_if(name, addresses, is_granted, |ip| {
        format!("{}:PORT", bracketed(&Target::Address(ip)))
    })
}

/// # Errors
/// [`Failure::Denied`] when the guest may not look this name up.
pub fn check_lookup(settings: &HandlerConfig, name: &str) -> Result<(), Failure> {
    match allows_to_look_up(&settings.allow_outbound, name) {
        true => Ok(()),
        false => Err(denied(&format!("{name}:PORT"))),
    }
}

fn admit_if(
    name: &str,
    addresses: Vec<IpAddr>,
    is_granted: impl Fn(IpAddr) -> bool,
    entry: impl Fn(IpAddr) -> String,
) -> Result<Vec<IpAddr>, Failure> {
    let (admitted, kept): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|ip| is_public(*ip) || is_granted(*ip));
    match kept.first() {
        Some(ip) if admitted.is_empty() => Err(Failure::Denied(format!(
            "{name} is {ip}, which is not on the public internet: if that is where it belongs, allow-outbound needs \
             the address as well: allow-outbound = [{:?}]",
            entry(*ip)
        ))),
        None if admitted.is_empty() => Err(Failure::NotFound),
        _ => Ok(admitted),
    }
}

fn names_address(granted: &[Outbound], ip: IpAddr, port: u16, transport: Transport) -> bool {
    granted
        .iter()
        .any(|outbound| outbound.allows_address(ip, port, transport))
}

fn denied(entry: &str) -> Failure {
    Failure::Denied(format!("allow-outbound = [{entry:?}] would allow it"))
}

fn entry(target: &Target, port: u16, transport: Transport) -> String {
    let udp = if transport == Transport::Udp { "udp:" } else { "" };
    format!("{udp}{}:{port}", bracketed(target))
}

fn bracketed(target: &Target) -> String {
    match target {
        Target::Address(IpAddr::V6(ip)) => format!("[{ip}]"),
        Target::Address(ip) => ip.to_string(),
        Target::Name(name) => name.clone(),
    }
}
