//! What `allow-outbound` allows.
//!
//! Two processes ask. The host, which speaks HTTP, knows methods and paths; `wasm-sock-egress`, which connects, knows
//! the addresses that names have.

use super::{Destination, Outbound, Scope};
use std::fmt::{self, Display, Formatter};
use std::net::IpAddr;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP, with or without TLS, for a protocol that the guest speaks itself.
    Tcp,
    Udp,
    /// Requests by `wasi:http`, with TLS or without.
    Http {
        tls: bool,
    },
}

impl Scope {
    /// Is a connection for this of use to what was granted? Which requests are, is for [`allows_request`] to say.
    pub fn has(&self, transport: Transport) -> bool {
        match (self, transport) {
            (Self::Tcp, Transport::Tcp | Transport::Http { .. }) | (Self::Udp, Transport::Udp) => true,
            (Self::Url(grant), Transport::Http { tls }) => grant.tls == tls,
            _ => false,
        }
    }
}

impl Outbound {
    /// May a guest connect to this host, a name or an address, as it is written?
    pub fn allows(&self, host: &str, port: u16, transport: Transport) -> bool {
        self.scope.has(transport) && self.has_port(port) && self.host.is(host)
    }

    /// Does it name this address, with this port?
    pub fn allows_address(&self, ip: IpAddr, port: u16, transport: Transport) -> bool {
        self.scope.has(transport) && self.has_port(port) && self.host.contains(ip)
    }
}

/// An HTTP request that a guest wants to send.
#[derive(Debug, Clone, Copy)]
pub struct OutboundRequest<'a> {
    pub method: &'a str,
    pub tls: bool,
    /// A name or an address, as in the request's authority.
    pub host: &'a str,
    pub port: u16,
    pub path_and_query: &'a str,
}

/// May a guest with these grants send this request?
pub fn allows_request(granted: &[Outbound], request: &OutboundRequest<'_>) -> bool {
    let transport = Transport::Http { tls: request.tls };
    granted.iter().any(|outbound| {
        outbound.allows(request.host, request.port, transport)
            && match &outbound.scope {
                Scope::Url(grant) => grant.allows(request.method, request.path_and_query),
                Scope::Tcp => true,
                Scope::Udp => false,
            }
    })
}

/// May a guest with these grants look this name up? Names of URLs are for `wasi:http`, which needs no lookup. A name that
/// was not granted is never looked up: a guest could send data to a name server in it (DNS exfiltration).
pub fn allows_to_look_up(granted: &[Outbound], name: &str) -> bool {
    let is_of_sockets = |outbound: &&Outbound| matches!(outbound.scope, Scope::Tcp | Scope::Udp);
    let is_it = |outbound: &Outbound| matches!(outbound.host, Destination::Name(_)) && outbound.host.is(name);
    granted.iter().filter(is_of_sockets).any(is_it)
}

/// The entry of `allow-outbound` that would allow it, without the query, in which there may be secrets.
impl Display for OutboundRequest<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (scheme, usual) = if self.tls { ("https", 443) } else { ("http", 80) };
        write!(f, "{} {scheme}://{}", self.method, self.host)?;
        if self.port != usual {
            write!(f, ":{}", self.port)?;
        }
        f.write_str(self.path_and_query.split(['?', '#']).next().unwrap_or_default())
    }
}
