//! Names to addresses, by the C library (`getaddrinfo(3)`): `/etc/hosts` and `/etc/resolv.conf`, read anew each time.

use std::ffi::CString;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;
use std::sync::Arc;
use tokio::sync::Semaphore;
use wasm_sock_egress_protocol::Failure;

/// The most lookups at a time. Each occupies a thread.
const MOST: usize = 64;

/// Looks names up, some at a time.
#[derive(Clone)]
pub struct Resolver {
    permits: Arc<Semaphore>,
}

impl Resolver {
    pub fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MOST)),
        }
    }

    /// The addresses of a name, in the order in which they are to be tried (RFC 6724). IPv4-mapped ones are those of
    /// IPv4. `of_handler` limits the lookups of one handler: also those that nothing waits for any more.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn addresses(&self, name: &str, of_handler: Arc<Semaphore>) -> Result<Vec<IpAddr>, Failure> {
        let name = CString::new(name).map_err(|_| Failure::NotFound)?;
        let closed = |_| Failure::Limit;
        let own = of_handler.acquire_owned().await.map_err(closed)?;
        let permit = self.permits.clone().acquire_owned().await.map_err(closed)?;
        let lookup = tokio::task::spawn_blocking(move || {
            let addresses = look_up(&name);
            drop((own, permit));
            addresses
        });
        lookup
            .await
            .unwrap_or_else(|error| Err(Failure::Internal(error.to_string())))
    }
}

fn look_up(name: &CString) -> Result<Vec<IpAddr>, Failure> {
    // SAFETY: zeros are no hints.
    let mut hints: libc::addrinfo = unsafe { std::mem::zeroed() };
    hints.ai_socktype = libc::SOCK_STREAM;
    let mut list = ptr::null_mut();
    // SAFETY: the name ends with a zero, and the result is freed below.
    match unsafe { libc::getaddrinfo(name.as_ptr(), ptr::null(), &hints, &mut list) } {
        0 => {}
        libc::EAI_NONAME | libc::EAI_NODATA | libc::EAI_FAMILY => return Err(Failure::NotFound),
        libc::EAI_AGAIN => return Err(Failure::DnsTimeout),
        libc::EAI_SYSTEM => return Err(Failure::Dns(std::io::Error::last_os_error().to_string())),
        code => return Err(Failure::Dns(format!("the name servers fail (getaddrinfo(3): {code})"))),
    }
    let (mut addresses, mut next) = (Vec::new(), list);
    // SAFETY: getaddrinfo(3) returned a list of valid entries, whose last has no successor.
    while let Some(entry) = unsafe { next.as_ref() } {
        // SAFETY: the address is of the entry's family, and as long.
        let address = unsafe { address_of(entry) };
        addresses.extend(address.filter(|address| !addresses.contains(address)));
        next = entry.ai_next;
    }
    // SAFETY: it is the list of above, and nothing refers to it any more.
    unsafe { libc::freeaddrinfo(list) };
    Ok(addresses)
}

/// # Safety
/// `ai_addr` must be an address of the family `ai_family`.
unsafe fn address_of(entry: &libc::addrinfo) -> Option<IpAddr> {
    match entry.ai_family {
        libc::AF_INET => {
            // SAFETY: as the caller says; it may be unaligned.
            let address = unsafe { entry.ai_addr.cast::<libc::sockaddr_in>().read_unaligned() };
            Some(Ipv4Addr::from_bits(u32::from_be(address.sin_addr.s_addr)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { entry.ai_addr.cast::<libc::sockaddr_in6>().read_unaligned() };
            Some(IpAddr::V6(Ipv6Addr::from(address.sin6_addr.s6_addr)).to_canonical())
        }
        _ => None,
    }
}
