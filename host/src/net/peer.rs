//! The peer of a connection or datagram: its address or credentials, for logs and for the guest's environment
//! variables (CGI, UCSPI).

use crate::activation::Protocol;
use nix::sys::socket::VsockAddr;
use rustix::net::{SocketAddrAny, getpeername, getsockname, sockopt};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Weak};

/// The peer. Displayed in logs as `192.0.2.7:51234`, `[2001:db8::1]:51234`, `uid 1000 pid 4242`.
///
/// Formatted only when it is needed: most guests never ask.
#[derive(Clone)]
pub enum Peer {
    Internet {
        names: &'static VariableNames,
        remote: Option<SocketAddr>,
        local: Local,
    },
    /// A process, with its credentials if the kernel reports them.
    Unix(Option<Credentials>),
    /// The path of a Unix socket, or its abstract name with an `@`.
    UnixSocket(Arc<str>),
    /// A virtual machine or its host: its context identifier (`vsock(7)`) and port.
    Vsock(Option<(u32, u32)>),
}

/// The local address of a connection, or the destination of a datagram.
#[derive(Clone)]
pub enum Local {
    Known(Option<SocketAddr>),
    /// Asked of the socket (getsockname(2)), while it is open.
    Of(Weak<OwnedFd>),
}

/// The credentials of a peer (`SO_PEERCRED`, `unix(7)`).
#[derive(Clone, Copy)]
pub struct Credentials {
    uid: u32,
    gid: u32,
    pid: i32,
}

impl Peer {
    /// The peer of a connection; `remote`: its internet address, if that is known already.
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

    /// The sender of a UDP datagram from `remote` to `local`.
    pub fn of_udp(remote: SocketAddr, local: Option<SocketAddr>) -> Self {
        Self::Internet {
            names: &UDP,
            remote: Some(canonical(remote)),
            local: Local::Known(local.map(canonical)),
        }
    }

    /// The sender of a Unix datagram: the path of a socket, or its abstract name with an `@`.
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

    /// Environment variables for the guest: `REMOTE_ADDR` and `REMOTE_PORT`, as of CGI (RFC 3875) and systemd
    /// (`systemd.exec(5)`), and those of UCSPI (`tcp-environ(5)`, `ucspi-unix(5)`).
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

/// Formats an address as its `Display` does, but faster, because each log line has one.
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

/// The names of the UCSPI variables of a protocol (for UDP, by analogy).
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

/// The internet address in `address`, if it is one.
pub fn internet(address: SocketAddrAny) -> Option<SocketAddr> {
    SocketAddr::try_from(address).ok().map(canonical)
}

/// Converts an IPv4-mapped IPv6 address to the IPv4 address.
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
