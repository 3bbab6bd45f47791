//! Who is at the other end, in the words that guests already know.

use crate::activation::Protocol;
use nix::sys::socket::VsockAddr;
use rustix::net::{SocketAddrAny, getpeername, getsockname, sockopt};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

/// A connection's other end.
pub struct Peer {
    /// `192.0.2.7:51234`, `[2001:db8::1]:51234` or `uid 1000 pid 4242`: for logs.
    pub name: Arc<str>,
    /// Its internet address, if it has one.
    pub address: Option<IpAddr>,
    /// For the guest: what CGI (RFC 3875) and systemd (`systemd.exec(5)`) call `REMOTE_ADDR` and
    /// `REMOTE_PORT`, and the variables of UCSPI (`tcp-environ(5)`, `ucspi-unix(5)`).
    pub environment: Vec<(&'static str, String)>,
}

impl Peer {
    /// The other end of a connection.
    pub fn of(fd: &OwnedFd, protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => {
                let remote = getpeername(fd).ok().flatten().and_then(internet);
                Self::internet(&TCP, remote, getsockname(fd).ok().and_then(internet))
            }
            Protocol::Unix | Protocol::UnixPackets => Self::unix(fd),
            Protocol::Vsock => Self::vsock(fd),
        }
    }

    /// Who sent a UDP datagram from `remote` to `local`.
    pub fn of_udp(remote: SocketAddr, local: Option<SocketAddr>) -> Self {
        Self::internet(&UDP, Some(canonical(remote)), local.map(canonical))
    }

    /// Who sent a Unix datagram: the path of a socket, or its abstract name with an `@`.
    pub fn of_unix_datagram(name: &[u8]) -> Self {
        Self {
            name: String::from_utf8_lossy(name).into(),
            address: None,
            environment: vec![("PROTO", "UNIX".to_owned())],
        }
    }

    fn internet(names: &Names, remote: Option<SocketAddr>, local: Option<SocketAddr>) -> Self {
        let mut environment = vec![("PROTO", names.protocol.to_owned())];
        if let Some(local) = local {
            environment.push((names.local_ip, local.ip().to_string()));
            environment.push((names.local_port, local.port().to_string()));
        }
        let Some(remote) = remote else {
            return Self {
                name: "unknown".into(),
                address: None,
                environment,
            };
        };
        let (ip, port) = (remote.ip().to_string(), remote.port().to_string());
        environment.push((names.remote_ip, ip.clone()));
        environment.push((names.remote_port, port.clone()));
        environment.push(("REMOTE_ADDR", ip));
        environment.push(("REMOTE_PORT", port));
        Self {
            name: remote.to_string().into(),
            address: Some(remote.ip()),
            environment,
        }
    }

    fn unix(fd: impl AsFd) -> Self {
        let mut environment = vec![("PROTO", "UNIX".to_owned())];
        let mut name = "unknown".into();
        if let Ok(credentials) = sockopt::socket_peercred(fd) {
            let (uid, pid) = (credentials.uid.as_raw(), credentials.pid.as_raw_nonzero());
            environment.push(("UNIXREMOTEUID", uid.to_string()));
            environment.push(("UNIXREMOTEGID", credentials.gid.as_raw().to_string()));
            environment.push(("UNIXREMOTEPID", pid.to_string()));
            name = format!("uid {uid} pid {pid}").into();
        }
        Self {
            name,
            address: None,
            environment,
        }
    }

    /// A virtual machine or its host, by the number that `vsock(7)` calls its context identifier.
    fn vsock(fd: &OwnedFd) -> Self {
        let mut environment = vec![("PROTO", "VSOCK".to_owned())];
        let mut name = "unknown".into();
        if let Ok(remote) = nix::sys::socket::getpeername::<VsockAddr>(fd.as_raw_fd()) {
            environment.push(("REMOTE_ADDR", format!("vsock:{}", remote.cid())));
            environment.push(("REMOTE_PORT", remote.port().to_string()));
            name = format!("vsock:{}:{}", remote.cid(), remote.port()).into();
        }
        Self {
            name,
            address: None,
            environment,
        }
    }
}

/// What the variables of a protocol are called (UCSPI, and the same for UDP).
struct Names {
    protocol: &'static str,
    local_ip: &'static str,
    local_port: &'static str,
    remote_ip: &'static str,
    remote_port: &'static str,
}

const TCP: Names = Names {
    protocol: "TCP",
    local_ip: "TCPLOCALIP",
    local_port: "TCPLOCALPORT",
    remote_ip: "TCPREMOTEIP",
    remote_port: "TCPREMOTEPORT",
};

const UDP: Names = Names {
    protocol: "UDP",
    local_ip: "UDPLOCALIP",
    local_port: "UDPLOCALPORT",
    remote_ip: "UDPREMOTEIP",
    remote_port: "UDPREMOTEPORT",
};

fn internet(address: SocketAddrAny) -> Option<SocketAddr> {
    SocketAddr::try_from(address).ok().map(canonical)
}

/// An address of IPv4 that came through an IPv6 socket is shown as what it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
