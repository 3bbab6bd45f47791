//! Per-source limits: counts connections, datagrams or requests by client address, so that one client cannot use all
//! slots of a handler.

use crate::journal::RateLimited;
use crate::sync::lock;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

/// The connections of one handler, counted by source (`max-connections-per-source`).
///
/// A source is an IPv4 address, or an IPv6 network (/64, which is what one customer gets). This machine (127.0.0.1,
/// ::1, Unix sockets) is not limited: there the client is usually a reverse proxy, which serves many.
pub struct Sources {
    /// [`UNLIMITED`]: nothing is counted.
    most: AtomicU32,
    /// The number of connections of each source; no more entries than the handler has connections.
    open: Mutex<HashMap<IpAddr, u32>>,
    /// Warns of connections that were refused.
    pub refusals: RateLimited,
}

/// No limit: more than any `max-connections-per-source` that is below `max-connections`.
const UNLIMITED: u32 = u32::MAX;

/// A connection that is counted for its source until this is dropped.
pub struct Counted(Option<(Arc<Sources>, IpAddr)>);

/// The source has as many connections as it may have: this many.
#[derive(Debug, PartialEq, Eq)]
pub struct TooMany(pub u32);

impl Sources {
    /// At most `most` connections for each source, of the `all` that the handler may have.
    pub fn new(most: Option<u32>, all: u32) -> Arc<Self> {
        let sources = Self {
            most: AtomicU32::new(UNLIMITED),
            open: Mutex::default(),
            refusals: RateLimited::default(),
        };
        sources.limit(most, all);
        Arc::new(sources)
    }

    /// Changes the limit to `most` connections for each source, of the `all` that the handler may have. Connections
    /// that began while there was none are not counted.
    pub fn limit(&self, most: Option<u32>, all: u32) {
        let most = most.filter(|most| *most < all);
        self.most.store(most.unwrap_or(UNLIMITED), Relaxed);
    }

    fn most(&self) -> Option<u32> {
        Some(self.most.load(Relaxed)).filter(|most| *most != UNLIMITED)
    }

    /// Counts one more connection from `address`. One without an address is not limited.
    ///
    /// # Errors
    /// [`TooMany`], when the source has reached its limit.
    pub fn admit(self: &Arc<Self>, address: Option<IpAddr>) -> Result<Counted, TooMany> {
        let (Some(most), Some(source)) = (self.most(), address.and_then(source)) else {
            return Ok(Counted(None));
        };
        let mut open = self.open();
        let count = open.entry(source).or_default();
        if *count >= most {
            return Err(TooMany(most));
        }
        *count += 1;
        Ok(Counted(Some((self.clone(), source))))
    }

    /// How many connections the source of `address` may have; `None`: it is not limited.
    pub fn most_of(&self, address: Option<IpAddr>) -> Option<u32> {
        self.most().filter(|_| address.and_then(source).is_some())
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, u32>> {
        lock(&self.open)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some((sources, source)) = &self.0 else {
            return;
        };
        if let Entry::Occupied(mut entry) = sources.open().entry(*source) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

/// The source of an address: the address itself, or its /64 network. `None`: it is not limited.
fn source(address: IpAddr) -> Option<IpAddr> {
    match address.to_canonical() {
        IpAddr::V4(Ipv4Addr::LOCALHOST) | IpAddr::V6(Ipv6Addr::LOCALHOST) => None,
        IpAddr::V4(address) => Some(address.into()),
        IpAddr::V6(address) => {
            let network = address.to_bits() & (u128::MAX << 64);
            Some(Ipv6Addr::from_bits(network).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().expect("an address"))
    }

    #[test]
    fn a_source_gets_back_what_it_gives_back_and_leaves_nothing_behind() {
        let sources = Sources::new(Some(2), 9);
        let admit = |text| sources.admit(ip(text));
        let first = admit("192.0.2.1");
        let _second = admit("::ffff:192.0.2.1");
        assert_eq!(admit("192.0.2.1").err(), Some(TooMany(2)));
        assert!(admit("192.0.2.2").is_ok());
        drop(first);
        assert!(admit("192.0.2.1").is_ok());
        assert_eq!(sources.open().len(), 1);
    }

    #[test]
    fn a_network_of_ipv6_is_one_source() {
        let sources = Sources::new(Some(1), 9);
        let _first = sources.admit(ip("2001:db8::1"));
        assert!(sources.admit(ip("2001:db8::ffff:0:0:1")).is_err());
        assert!(sources.admit(ip("2001:db8:0:1::1")).is_ok());
    }

    #[test]
    fn this_machine_is_not_counted() {
        let sources = Sources::new(Some(1), 9);
        for address in [ip("127.0.0.1"), ip("::1"), ip("::ffff:127.0.0.1"), None] {
            let both = (sources.admit(address), sources.admit(address));
            assert!(both.0.is_ok() && both.1.is_ok(), "{address:?}");
        }
    }

    #[test]
    fn a_limit_that_changes_holds_for_what_was_counted_before() {
        let sources = Sources::new(Some(3), 9);
        let admit = || sources.admit(ip("192.0.2.1"));
        let open = [admit(), admit()];
        sources.limit(Some(2), 9);
        assert_eq!(admit().err(), Some(TooMany(2)));
        sources.limit(None, 9);
        let uncounted = admit();
        drop(open);
        sources.limit(Some(1), 9);
        assert!(admit().is_ok() && uncounted.is_ok());
        assert!(sources.open().is_empty());
    }

    #[test]
    fn nothing_is_kept_where_no_source_can_have_too_many() {
        for sources in [Sources::new(None, 9), Sources::new(Some(9), 9)] {
            let _counted = sources.admit(ip("192.0.2.1"));
            assert!(sources.open().is_empty());
        }
    }
}
