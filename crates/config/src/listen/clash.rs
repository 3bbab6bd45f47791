//! Finds addresses that two sockets cannot have at the same time.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Listen, ListenAddress, ListenKind};
use crate::HandlerConfig;

/// Two handlers of one address, of which one can have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clash<'a> {
    /// The handler that does not get the address: the second one by name.
    pub handler: &'a str,
    pub listen: &'a Listen,
    /// The handler that gets it.
    pub winner: &'a str,
    pub winners: &'a Listen,
}

/// What two sockets must have in common to be in each other's way.
#[derive(PartialEq, Eq, Hash)]
enum Place<'a> {
    Tcp(u16),
    Udp(u16),
    /// Sockets of all types share the names in the file system.
    Path(&'a str),
    Abstract(&'a str),
    Vsock(u32),
}

impl Listen {
    fn place(&self) -> Place<'_> {
        match &self.address {
            ListenAddress::Port(port) | ListenAddress::Ip(_, port) if self.kind == ListenKind::Udp => {
                Place::Udp(*port)
            }
            ListenAddress::Port(port) | ListenAddress::Ip(_, port) => Place::Tcp(*port),
            ListenAddress::Path(path) => Place::Path(path),
            ListenAddress::Abstract(name) => Place::Abstract(name),
            ListenAddress::Vsock(_, port) => Place::Vsock(*port),
        }
    }
}

/// Whether the second of two sockets in the same place cannot be bound, or would get nothing.
pub(crate) fn clashing(one: (&HandlerConfig, &Listen), other: (&HandlerConfig, &Listen)) -> bool {
    if one.1.place() != other.1.place() {
        return false;
    }
    let internet = matches!(one.1.kind, ListenKind::Tcp | ListenKind::Udp);
    if internet && one.0.socket.interface != other.0.socket.interface {
        return false;
    }
    match (&one.1.address, &other.1.address) {
        (ListenAddress::Vsock(one, _), ListenAddress::Vsock(other, _)) => {
            one == other || one.is_none() || other.is_none()
        }
        _ if !internet => true,
        _ => {
            let (first, second) = (families(one), families(other));
            // A datagram goes to the socket with the more precise address (udp(7)), so both may be there.
            let same = |(one, other)| one == other;
            let covered = |(one, other): (IpAddr, IpAddr)| {
                one == other || one.is_ipv4() == other.is_ipv4() && (one.is_unspecified() || other.is_unspecified())
            };
            let pairs = || first.iter().flat_map(|one| second.iter().map(|other| (*one, *other)));
            match one.1.kind {
                ListenKind::Udp => pairs().any(same),
                _ => pairs().any(covered),
            }
        }
    }
}

/// The addresses that a socket is bound to, one for each family.
fn families((handler, listen): (&HandlerConfig, &Listen)) -> Vec<IpAddr> {
    let v6_only = handler.socket.ipv6_only == Some(true);
    let (any4, any6) = (Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into());
    match listen.address {
        ListenAddress::Port(_) if v6_only => vec![any6],
        ListenAddress::Port(_) => vec![any6, any4],
        ListenAddress::Ip(ip, _) if ip == any6 && !v6_only => vec![any6, any4],
        ListenAddress::Ip(ip, _) => vec![ip.to_canonical()],
        _ => Vec::new(),
    }
}

/// All clashes between enabled handlers, by the name of the handler that loses.
pub(crate) fn clashes<'a>(handlers: impl Iterator<Item = (&'a str, &'a HandlerConfig)>) -> Vec<Clash<'a>> {
    let mut taken: HashMap<Place<'a>, Vec<(&'a str, &'a HandlerConfig, &'a Listen)>> = HashMap::new();
    let mut clashes = Vec::new();
    for (name, handler) in handlers.filter(|(_, handler)| handler.enabled) {
        for listen in &handler.listen {
            let there = taken.entry(listen.place()).or_default();
            let first = there
                .iter()
                .find(|(winner, config, winners)| *winner != name && clashing((config, winners), (handler, listen)));
            match first {
                Some((winner, _, winners)) => clashes.push(Clash {
                    handler: name,
                    listen,
                    winner,
                    winners,
                }),
                None => there.push((name, handler, listen)),
            }
        }
    }
    clashes
}
