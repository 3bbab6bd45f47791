//! Who is at the other end, in the words that guests already know.

use crate::activation::Protocol;
use nix::sys::socket::VsockAddr;
use rustix::net::{SocketAddrAny, getpeername, getsockname, sockopt};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};

/// A connection's other end. Shown as `192.0.2.7:51234`, `[2001:db8::1]:51234`,
/// `uid 1000 pid 4242`: for logs.
///
/// Nothing of it is text before somebody asks: most guests never do.
#[derive(Clone)]
pub enum Peer {
    Internet {
        names: &'static VariableNames,
        remote: Option<SocketAddr>,
        local: Local,
    },
    /// A process, if the kernel tells which.
    Unix(Option<Credentials>),
    /// The path of a Unix socket, or its abstract name with an `@`.
    UnixSocket(Arc<str>),
    /// A virtual machine or its host: its context identifier (`vsock(7)`) and port.
    Vsock(Option<(u32, u32)>),
}

/// This end of a connection, or where a datagram was sent to.
#[derive(Clone)]
pub enum Local {
    Known(Option<SocketAddr>),
    /// What the socket says while it is open.
    Of(Weak<OwnedFd>),
}

/// What `unix(7)` calls the credentials of a peer.
#[derive(Clone, Copy)]
pub struct Credentials {
    uid: u32,
    gid: u32,
    pid: i32,
}

impl Peer {
    /// The other end of a connection; `remote`: its internet address, if that is known already.
    pub fn of(fd: &Arc<OwnedFd>, protocol: Protocol, remote: Option<SocketAddr>) -> Self {
        match protocol {
            Protocol::Tcp => Self::Internet {
                names: &TCP,
                remote: remote.or_else(|| getpeername(fd).ok().flatten().and_then(internet)),
                local: Local::Of(Arc::downgrade(fd)),
            },
            Protocol::Unix | Protocol::UnixPackets => Self::Unix(credentials(fd)),
            Protocol::Vsock => {
                let remote = nix::sys::socket::getpeername::<VsockAddr>(fd.as_raw_fd());
                Self::Vsock(remote.ok().map(|remote| (remote.cid(), remote.port())))
            }
        }
    }

    /// Who sent a UDP datagram from `remote` to `local`.
    pub fn of_udp(remote: SocketAddr, local: Option<SocketAddr>) -> Self {
        Self::Internet {
            names: &UDP,
            remote: Some(canonical(remote)),
            local: Local::Known(local.map(canonical)),
        }
    }

    /// Who sent a Unix datagram: the path of a socket, or its abstract name with an `@`.
    pub fn of_unix_datagram(name: &[u8]) -> Self {
        Self::UnixSocket(String::from_utf8_lossy(name).into())
    }

    /// Its internet address, if it has one.
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Internet { remote, .. } => remote.map(|remote| remote.ip()),
            _ => None,
        }
    }

    /// For the guest: what CGI (RFC 3875) and systemd (`systemd.exec(5)`) call `REMOTE_ADDR` and
    /// `REMOTE_PORT`, and the variables of UCSPI (`tcp-environ(5)`, `ucspi-unix(5)`).
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Internet { names, remote, local } => {
                let mut environment = vec![("PROTO", names.protocol.to_owned())];
                if let Some(local) = local.address() {
                    environment.push((names.local_ip, local.ip().to_string()));
                    environment.push((names.local_port, local.port().to_string()));
                }
                if let Some(remote) = remote {
                    let (ip, port) = (remote.ip().to_string(), remote.port().to_string());
                    environment.push((names.remote_ip, ip.clone()));
                    environment.push((names.remote_port, port.clone()));
                    environment.push(("REMOTE_ADDR", ip));
                    environment.push(("REMOTE_PORT", port));
                }
                environment
            }
            Self::Unix(credentials) => {
                let mut environment = vec![("PROTO", "UNIX".to_owned())];
                if let Some(Credentials { uid, gid, pid }) = credentials {
                    environment.push(("UNIXREMOTEUID", uid.to_string()));
                    environment.push(("UNIXREMOTEGID", gid.to_string()));
                    environment.push(("UNIXREMOTEPID", pid.to_string()));
                }
                environment
            }
            Self::UnixSocket(_) => vec![("PROTO", "UNIX".to_owned())],
            Self::Vsock(remote) => {
                let mut environment = vec![("PROTO", "VSOCK".to_owned())];
                if let Some((cid, port)) = remote {
                    environment.push(("REMOTE_ADDR", format!("vsock:{cid}")));
                    environment.push(("REMOTE_PORT", port.to_string()));
                }
                environment
            }
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Internet {
                remote: Some(remote), ..
            } => write_address(f, remote),
            Self::Unix(Some(Credentials { uid, pid, .. })) => write!(f, "uid {uid} pid {pid}"),
            Self::UnixSocket(name) => f.write_str(name),
            Self::Vsock(Some((cid, port))) => write!(f, "vsock:{cid}:{port}"),
            Self::Internet { .. } | Self::Unix(None) | Self::Vsock(None) => f.write_str("unknown"),
        }
    }
}

/// As an address shows itself, without `core::fmt` for each number: each line of the log has one.
fn write_address(f: &mut fmt::Formatter<'_>, address: &SocketAddr) -> fmt::Result {
    let SocketAddr::V4(address) = address else {
        return write!(f, "{address}");
    };
    let mut digits = itoa::Buffer::new();
    for (octet, separator) in address.ip().octets().into_iter().zip([".", ".", ".", ":"]) {
        f.write_str(digits.format(octet))?;
        f.write_str(separator)?;
    }
    f.write_str(digits.format(address.port()))
}

impl Local {
    fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Known(address) => *address,
            Self::Of(socket) => getsockname(socket.upgrade()?).ok().and_then(internet),
        }
    }
}

/// What the variables of a protocol are called (UCSPI, and the same for UDP).
pub struct VariableNames {
    protocol: &'static str,
    local_ip: &'static str,
    local_port: &'static str,
    remote_ip: &'static str,
    remote_port: &'static str,
}

static TCP: VariableNames = VariableNames {
    protocol: "TCP",
    local_ip: "TCPLOCALIP",
    local_port: "TCPLOCALPORT",
    remote_ip: "TCPREMOTEIP",
    remote_port: "TCPREMOTEPORT",
};

static UDP: VariableNames = VariableNames {
    protocol: "UDP",
    local_ip: "UDPLOCALIP",
    local_port: "UDPLOCALPORT",
    remote_ip: "UDPREMOTEIP",
    remote_port: "UDPREMOTEPORT",
};

fn credentials(fd: impl AsFd) -> Option<Credentials> {
    let credentials = sockopt::socket_peercred(fd).ok()?;
    Some(Credentials {
        uid: credentials.uid.as_raw(),
        gid: credentials.gid.as_raw(),
        pid: credentials.pid.as_raw_nonzero().into(),
    })
}

/// The internet address that `address` is, if it is one.
pub fn internet(address: SocketAddrAny) -> Option<SocketAddr> {
    SocketAddr::try_from(address).ok().map(canonical)
}

/// An address of IPv4 that came through an IPv6 socket is shown as what it is.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use super::Peer;
    use std::net::SocketAddr;

    #[test]
    fn an_address_is_shown_as_ever() {
        for text in [
            "0.0.0.0:0",
            "192.0.2.7:51234",
            "255.10.9.100:65535",
            "[2001:db8::1]:8080",
        ] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(Peer::of_udp(address, None).to_string(), text);
        }
    }
}
