//! Who is at the other end, in the words that guests already know.

use crate::activation::Kind;
use rustix::net::{SocketAddrAny, getsockname, sockopt};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

/// A connection's other end.
pub struct Peer {
    /// `192.0.2.7:51234`, `[2001:db8::1]:51234` or `uid 1000 pid 4242`: for logs.
    pub name: Arc<str>,
    /// For the guest: what CGI (RFC 3875) and systemd (`systemd.exec(5)`) call `REMOTE_ADDR` and
    /// `REMOTE_PORT`, and the variables of UCSPI (`tcp-environ(5)`, `ucspi-unix(5)`).
    pub environment: Vec<(&'static str, String)>,
}

impl Peer {
    /// `address` is what accept(2) told about the other end.
    pub fn of(fd: &OwnedFd, kind: Kind, address: Option<SocketAddrAny>) -> Self {
        match kind {
            Kind::Tcp => Self::tcp(fd, address),
            Kind::Unix => Self::unix(fd),
        }
    }

    fn tcp(fd: &OwnedFd, address: Option<SocketAddrAny>) -> Self {
        let mut environment = vec![("PROTO", "TCP".to_owned())];
        if let Some(local) = getsockname(fd).ok().and_then(internet) {
            environment.push(("TCPLOCALIP", local.ip().to_string()));
            environment.push(("TCPLOCALPORT", local.port().to_string()));
        }
        let Some(remote) = address.and_then(internet) else {
            return Self {
                name: "unknown".into(),
                environment,
            };
        };
        let (ip, port) = (remote.ip().to_string(), remote.port().to_string());
        environment.push(("TCPREMOTEIP", ip.clone()));
        environment.push(("TCPREMOTEPORT", port.clone()));
        environment.push(("REMOTE_ADDR", ip));
        environment.push(("REMOTE_PORT", port));
        Self {
            name: remote.to_string().into(),
            environment,
        }
    }

    fn unix(fd: impl AsFd) -> Self {
        let mut environment = vec![("PROTO", "UNIX".to_owned())];
        let Ok(credentials) = sockopt::socket_peercred(fd) else {
            return Self {
                name: "unknown".into(),
                environment,
            };
        };
        let (uid, pid) = (credentials.uid.as_raw(), credentials.pid.as_raw_nonzero());
        environment.push(("UNIXREMOTEUID", uid.to_string()));
        environment.push(("UNIXREMOTEGID", credentials.gid.as_raw().to_string()));
        environment.push(("UNIXREMOTEPID", pid.to_string()));
        Self {
            name: format!("uid {uid} pid {pid}").into(),
            environment,
        }
    }
}

/// An internet address. One of IPv4 that came through an IPv6 socket is shown as what it is.
fn internet(address: SocketAddrAny) -> Option<SocketAddr> {
    let address = SocketAddr::try_from(address).ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}
