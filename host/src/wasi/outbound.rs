//! Outbound connections: enforces `allow-outbound`.
//!
//! A guest may connect to an address that was granted, or that a granted name resolved to when this guest looked it
//! up. The owner of a domain controls what its names resolve to. So a name gives access only to public addresses,
//! which prevents DNS rebinding. A name that was not granted is never looked up: a guest could send data to a name
//! server in it (DNS exfiltration).

mod public;
#[cfg(test)]
mod tests;

use super::environment::GuestContext;
use crate::config::{Destination, HandlerConfig, Outbound};
use crate::journal::Level;
use crate::sandbox::{self, Needs, OUTDATED_REASON, RESOLVER};
use crate::sync::lock;
use public::is_public;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::{Arc, Mutex};
use thiserror::Error;
use wasmtime_wasi::WasiCtxBuilder;
use wasmtime_wasi::sockets::SocketAddrUse;

/// Adds what the sandbox has to allow for `allow-outbound`.
pub fn add_needs(handler: &HandlerConfig, needs: &mut Needs) {
    if !handler.allow_outbound.is_empty() {
        needs.add_reaching_out();
    }
    for outbound in &handler.allow_outbound {
        for range in &outbound.ports {
            needs.add_ports(range.clone());
        }
        if let Destination::Name(_) = outbound.host {
            needs.add_names();
        }
    }
}

/// Which addresses one guest may connect to.
pub struct OutboundPolicy {
    guest: Arc<GuestContext>,
    /// The names that this guest has looked up, and their public addresses.
    found: Mutex<Vec<(String, IpAddr)>>,
    /// Held during a lookup, which occupies a thread: one at a time for each guest, also when the guest no longer
    /// waits for the result.
    lookup_lock: Arc<tokio::sync::Mutex<()>>,
}

/// Why a name has no address for a guest.
#[derive(Debug, Error)]
pub enum LookupError {
    #[error("not granted")]
    Denied,
    #[error("{0}")]
    Failed(#[from] io::Error),
}

/// Checks that the files of the resolver can be read. DHCP clients replace them, and a sandboxed host cannot read the
/// new files. The resolver of libc would then ask a name server on this machine.
///
/// # Errors
/// When a file was replaced after the host entered its sandbox.
fn readable_files() -> io::Result<()> {
    for path in RESOLVER.map(Path::new) {
        if let Err(error) = File::open(path)
            && sandbox::refuses(path, &error)
        {
            let why = format!("cannot read {}: {OUTDATED_REASON}", path.display());
            return Err(io::Error::other(why));
        }
    }
    Ok(())
}

impl OutboundPolicy {
    pub fn new(guest: Arc<GuestContext>) -> Arc<Self> {
        Arc::new(Self {
            guest,
            found: Mutex::default(),
            lookup_lock: Arc::default(),
        })
    }

    fn granted(&self) -> &[Outbound] {
        &self.guest.config.allow_outbound
    }

    /// Lets the guest make TCP connections, and nothing else with sockets. Without a grant it has no network at all.
    pub fn allow(self: &Arc<Self>, wasi: &mut WasiCtxBuilder) {
        wasi.allow_udp(false).allow_tcp(!self.granted().is_empty());
        if self.granted().is_empty() {
            return;
        }
        let reach = self.clone();
        wasi.socket_addr_check(move |address, usage| {
            let is_allowed = match usage {
                // Before it connects, a guest may bind a socket to the unspecified address, with a port that the
                // kernel chooses.
                SocketAddrUse::TcpBind => address.port() == 0 && address.ip().is_unspecified(),
                SocketAddrUse::TcpConnect => reach.may_connect(address),
                _ => false,
            };
            Box::pin(std::future::ready(is_allowed))
        });
    }

    fn may_connect(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let found = lock(&self.found);
        let leads_to = |outbound: &&Outbound| match &outbound.host {
            Destination::Network(network) => network.contains(ip),
            Destination::Name(name) => found.iter().any(|(n, found)| n == name && *found == ip),
        };
        let mut granted = self.granted().iter().filter(leads_to);
        granted.any(|outbound| outbound.has_port(address.port()))
    }

    /// Resolves a name to the addresses that the guest may connect to.
    ///
    /// # Errors
    /// When the name was not granted, cannot be resolved, or has no address that is allowed.
    pub async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, LookupError> {
        if let Ok(ip) = name.parse() {
            return Ok(vec![ip]);
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let is_it = |outbound: &Outbound| matches!(&outbound.host, Destination::Name(n) if *n == name);
        if !self.granted().iter().any(is_it) {
            return Err(LookupError::Denied);
        }
        let guard = self.lookup_lock.clone().lock_owned().await;
        let asked = name.clone();
        let resolve = move || {
            readable_files()?;
            let addresses = (asked.as_str(), 0).to_socket_addrs();
            drop(guard);
            addresses.map(|addresses| addresses.map(|a| a.ip().to_canonical()).collect())
        };
        let addresses: io::Result<Vec<IpAddr>> =
            tokio::task::spawn_blocking(resolve).await.map_err(io::Error::other)?;
        let addresses = addresses.inspect_err(|error| {
            let message = format_args!("cannot look up {name}: {error}");
            self.guest.log(Level::Warning, message);
        })?;
        self.admit(&name, addresses)
    }

    /// Those of the `addresses` of `name` that the guest may connect to.
    fn admit(&self, name: &str, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, LookupError> {
        let mut found = lock(&self.found);
        let mut admitted = Vec::new();
        for ip in addresses {
            if is_public(ip) {
                let entry = (name.to_owned(), ip);
                if !found.contains(&entry) {
                    found.push(entry);
                }
            } else if !self.is_granted(ip) {
                self.guest.log(
                    Level::Warning,
                    format_args!(
                        "{name} is {ip}, which is not on the public internet, and was kept from it (if \
                     that is where it belongs, allow-outbound needs the address as well)"
                    ),
                );
                continue;
            }
            admitted.push(ip);
        }
        match admitted.is_empty() {
            true => Err(LookupError::Denied),
            false => Ok(admitted),
        }
    }

    fn is_granted(&self, ip: IpAddr) -> bool {
        let has = |outbound: &Outbound| match &outbound.host {
            Destination::Network(network) => network.contains(ip),
            Destination::Name(_) => false,
        };
        self.granted().iter().any(has)
    }
}
