//! `allow-outbound`: parses the destinations that a guest may connect to (host names, networks, ports, URLs), and tells
//! what they allow.

mod evaluate;
#[cfg(test)]
mod tests;
mod url;

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;
use std::str::FromStr;

pub use evaluate::{OutboundRequest, Transport, allows_request, allows_to_look_up};
pub use url::UrlGrant;

/// Length of the prefix of IPv4-mapped IPv6 addresses (`::ffff:0:0/96`), in bits.
const MAPPED: u32 = 96;

/// Destinations that a guest may connect to: some ports of some hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outbound {
    /// What the guest may do there.
    pub scope: Scope,
    pub host: Destination,
    /// Never empty; none includes port 0.
    pub ports: Vec<RangeInclusive<u16>>,
}

/// What a guest may do at a destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Connect by TCP, for whatever is spoken then: also TLS, and HTTP with any method and path.
    Tcp,
    /// Send and receive datagrams (`udp:`).
    Udp,
    /// Send requests by `wasi:http`.
    Url(UrlGrant),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Network(Network),
    /// A host name in lower case, without a final dot.
    Name(String),
}

/// A network in CIDR notation: the addresses with the same first `prefix` bits as `address`, whose other bits are 0.
/// IPv4-mapped IPv6 addresses (RFC 4291, section 2.5.5.2) are converted to IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Outbound {
    /// Reads `HOST:PORTS`, `udp:HOST:PORTS` or `METHODS URL`. HOST is a name, an address or, with `/` and the length of
    /// a prefix, a network; those of IPv6 are in brackets. PORTS are numbers and ranges (`80,8000-8010`). For URLs see
    /// [`UrlGrant`].
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text.contains("://") {
            return url::parse(text);
        }
        // A host may have the name `udp`.
        let (scope, text) = match text.strip_prefix("udp:") {
            Some(rest) if rest.contains(':') => (Scope::Udp, rest),
            _ => (Scope::Tcp, text),
        };
        let (host, ports) = text.rsplit_once(':')?;
        Some(Self {
            scope,
            host: Destination::parse(host)?,
            ports: ports.split(',').map(range).collect::<Option<_>>()?,
        })
    }

    pub fn has_port(&self, port: u16) -> bool {
        self.ports.iter().any(|range| range.contains(&port))
    }
}

fn range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (first.parse().ok()?, last.parse().ok()?);
    (1 <= first && first <= last).then_some(first..=last)
}

impl Destination {
    /// Is it this host, a name or an address (those of IPv6 may be in brackets)? Whatever the case of a name, and with
    /// or without its final dot.
    pub fn is(&self, host: &str) -> bool {
        match (self, address(host)) {
            (Self::Network(network), Some(ip)) => network.contains(ip),
            (Self::Name(name), None) => host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case(name),
            _ => false,
        }
    }

    /// Is it a network with this address in it?
    pub fn contains(&self, ip: IpAddr) -> bool {
        matches!(self, Self::Network(network) if network.contains(ip))
    }

    fn parse(text: &str) -> Option<Self> {
        if let Some(bracketed) = text.strip_prefix('[') {
            let network = Network::parse::<Ipv6Addr>(bracketed.strip_suffix(']')?)?;
            return Some(Self::Network(network));
        }
        if let Some(network) = Network::parse::<Ipv4Addr>(text) {
            return Some(Self::Network(network));
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        is_host_name(&name).then_some(Self::Name(name))
    }
}

/// The address that a host is, if it is not a name.
pub fn address(host: &str) -> Option<IpAddr> {
    let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bracketed {
        Some(v6) => v6.parse().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

/// Checks a host name by RFC 1123, section 2.1; `_` is allowed, too, as by resolvers. A last label of digits only is
/// a mistyped address, never a name.
fn is_host_name(name: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(letter);
    let last = name.rsplit('.').next().unwrap_or_default();
    name.len() <= 253 && name.split('.').all(label) && !last.bytes().all(|b| b.is_ascii_digit())
}

impl Network {
    /// A network. `None`: `prefix` is longer than an address of this family.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let prefix = u32::from(prefix);
        let (address, prefix) = match address {
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) if prefix >= MAPPED => (v4.into(), prefix - MAPPED),
                _ => (address, prefix),
            },
            IpAddr::V4(_) => (address, prefix),
        };
        let address = match address {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.unbounded_shl(u32::BITS.checked_sub(prefix)?);
                Ipv4Addr::from_bits(v4.to_bits() & mask).into()
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.unbounded_shl(u128::BITS.checked_sub(prefix)?);
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
        };
        let prefix = u8::try_from(prefix).ok()?;
        Some(Self { address, prefix })
    }

    /// An address alone is a network of one.
    fn parse<Address: FromStr + Into<IpAddr>>(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, prefix.parse().ok()?),
            None => (text, size_of::<Address>() as u8 * 8),
        };
        Self::new(address.parse::<Address>().ok()?.into(), prefix)
    }

    pub fn contains(&self, ip: IpAddr) -> bool {
        Self::new(ip.to_canonical(), self.prefix) == Some(*self)
    }
}

impl Display for Network {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (address, prefix) = (self.address, self.prefix);
        match address {
            IpAddr::V4(_) if prefix == 32 => write!(f, "{address}"),
            IpAddr::V4(_) => write!(f, "{address}/{prefix}"),
            IpAddr::V6(_) if prefix == 128 => write!(f, "[{address}]"),
            IpAddr::V6(_) => write!(f, "[{address}/{prefix}]"),
        }
    }
}

impl Display for Destination {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => network.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Formats it as in the configuration.
impl Display for Outbound {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.scope {
            Scope::Url(grant) => return grant.write(&self.host, &self.ports, f),
            Scope::Udp => f.write_str("udp:")?,
            Scope::Tcp => {}
        }
        write!(f, "{}:", self.host)?;
        for (number, range) in self.ports.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            write!(f, "{comma}{}", range.start())?;
            if range.end() != range.start() {
                write!(f, "-{}", range.end())?;
            }
        }
        Ok(())
    }
}
