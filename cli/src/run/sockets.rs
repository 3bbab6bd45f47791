//! The sockets that systemd would make from `listen`.

use super::Run;
use crate::CommandError;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use wasm_sock_config::{Listen, ListenAddress, ListenKind};

/// systemd's `Backlog=` (systemd.socket(5)); the kernel lowers it (`net.core.somaxconn`).
const BACKLOG: i32 = 4096;

/// The ports that are tried when no address is given.
const DEFAULT_PORTS: std::ops::Range<u16> = 7000..7100;

/// `VMADDR_CID_ANY` (vsock(7)).
const ANY_CID: u32 = u32::MAX;

/// Sockets, and what to say about them.
pub struct Sockets {
    pub descriptors: Vec<OwnedFd>,
    /// As a client would write them.
    pub addresses: Vec<String>,
    /// Files that go when this does.
    files: Vec<PathBuf>,
}

impl Sockets {
    /// Makes the sockets that are asked for.
    ///
    /// # Errors
    /// When an address is not valid or in use.
    pub fn bind(run: &Run) -> Result<Self, CommandError> {
        let mut sockets = Self::of([])?;
        if run.listen.is_empty() {
            sockets.add_default()?;
        }
        for text in &run.listen {
            let listen = Listen::parse(text).map_err(|why| CommandError::Failed(format!("--listen {why}")))?;
            sockets.add(&listen).map_err(|error| failed(&listen, &error))?;
        }
        Ok(sockets)
    }

    /// Makes these sockets.
    ///
    /// # Errors
    /// When an address is in use, or is not this machine's.
    pub fn of<'a>(listens: impl IntoIterator<Item = &'a Listen>) -> Result<Self, CommandError> {
        let mut sockets = Self {
            descriptors: Vec::new(),
            addresses: Vec::new(),
            files: Vec::new(),
        };
        for listen in listens {
            sockets.add(listen).map_err(|error| failed(listen, &error))?;
        }
        Ok(sockets)
    }

    fn add_default(&mut self) -> Result<(), CommandError> {
        for port in DEFAULT_PORTS {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            match internet(Type::STREAM, address, false) {
                Ok(socket) => {
                    self.descriptors.push(socket);
                    self.addresses.push(address.to_string());
                    return Ok(());
                }
                Err(error) if error.kind() == ErrorKind::AddrInUse => {}
                Err(error) => return Err(CommandError::Failed(format!("{address}: {error}"))),
            }
        }
        Err(CommandError::Failed(
            "the ports from 7000 to 7099 are all in use (give another: --listen PORT)".to_owned(),
        ))
    }

    fn add(&mut self, listen: &Listen) -> io::Result<()> {
        let kind = socket_type(listen.kind);
        let socket = match &listen.address {
            ListenAddress::Port(port) => dual_stack(kind, *port)?,
            ListenAddress::Ip(ip, port) => internet(kind, (*ip, *port).into(), ip.is_ipv6())?,
            ListenAddress::Path(path) => {
                remove_stale(Path::new(path), kind)?;
                let socket = bound(Domain::UNIX, kind, None, &SockAddr::unix(path)?)?;
                self.files.push(path.into());
                socket
            }
            ListenAddress::Abstract(name) => bound(Domain::UNIX, kind, None, &SockAddr::unix(format!("\0{name}"))?)?,
            ListenAddress::Vsock(cid, port) => {
                let address = SockAddr::vsock(cid.unwrap_or(ANY_CID), *port);
                bound(Domain::VSOCK, kind, None, &address)?
            }
        };
        self.descriptors.push(socket);
        self.addresses.push(listen.canonical());
        Ok(())
    }
}

impl Drop for Sockets {
    fn drop(&mut self) {
        for file in &self.files {
            // Another program may have removed it.
            let _ = fs::remove_file(file);
        }
    }
}

fn socket_type(kind: ListenKind) -> Type {
    match kind {
        ListenKind::Tcp | ListenKind::Unix | ListenKind::Vsock => Type::STREAM,
        ListenKind::Udp | ListenKind::Datagrams => Type::DGRAM,
        ListenKind::Packets => Type::SEQPACKET,
    }
}

/// As systemd does: IPv6 and IPv4 through one socket, or IPv4 alone where there is no IPv6.
fn dual_stack(kind: Type, port: u16) -> io::Result<OwnedFd> {
    match internet(kind, (IpAddr::from(Ipv6Addr::UNSPECIFIED), port).into(), false) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::AFNOSUPPORT.raw_os_error()) => {
            internet(kind, (IpAddr::from(Ipv4Addr::UNSPECIFIED), port).into(), false)
        }
        result => result,
    }
}

fn internet(kind: Type, address: SocketAddr, only_v6: bool) -> io::Result<OwnedFd> {
    let protocol = if kind == Type::DGRAM {
        Protocol::UDP
    } else {
        Protocol::TCP
    };
    bound(
        Domain::for_address(address),
        kind,
        Some((protocol, only_v6)),
        &address.into(),
    )
}

/// A socket with this address. `internet` has the protocol, and whether IPv4 is left to another socket.
fn bound(domain: Domain, kind: Type, internet: Option<(Protocol, bool)>, address: &SockAddr) -> io::Result<OwnedFd> {
    let socket = Socket::new(domain, kind, internet.map(|(protocol, _)| protocol))?;
    if let Some((_, only_v6)) = internet {
        if domain == Domain::IPV6 {
            socket.set_only_v6(only_v6)?;
        }
        // Else a port would be in use for a minute after its last connection. With UDP two processes could share it.
        if kind == Type::STREAM {
            socket.set_reuse_address(true)?;
        }
    }
    socket.bind(address)?;
    if kind != Type::DGRAM {
        socket.listen(BACKLOG)?;
    }
    Ok(socket.into())
}

/// Removes the file of a socket that no process listens at any more.
fn remove_stale(path: &Path, kind: Type) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    if !is_socket {
        // Another kind of file is in the way: bind(2) says so.
        return Ok(());
    }
    let socket = Socket::new(Domain::UNIX, kind, None)?;
    match socket.connect(&SockAddr::unix(path)?) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        _ => Ok(()),
    }
}

fn failed(listen: &Listen, error: &io::Error) -> CommandError {
    let advice = match error.kind() {
        ErrorKind::AddrInUse => " (give another, or end the process that has it: `ss -lp` shows it)",
        ErrorKind::PermissionDenied => " (ports below 1024 are root's; give another)",
        ErrorKind::AddrNotAvailable => " (it is no address of this machine)",
        _ => "",
    };
    CommandError::Failed(format!("cannot listen at {listen}: {error}{advice}"))
}
