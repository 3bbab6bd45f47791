//! Is an address free, and if not, whose is it?

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use wasm_sock_config::{HandlerConfig, Listen, ListenAddress, ListenKind};

/// Why an address cannot be listened at.
#[derive(Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// These processes have it. Empty: processes of other users.
    Taken(Vec<Process>),
    /// As a message.
    Other(String),
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub pid: u32,
    pub name: String,
}

/// The obstacle to listening at an address of this handler, if there is one.
pub fn obstacle(listen: &Listen, handler: &HandlerConfig) -> Option<Obstacle> {
    match &listen.address {
        ListenAddress::Port(port) => internet(listen, handler, Ipv6Addr::UNSPECIFIED.into(), *port),
        ListenAddress::Ip(ip, port) => internet(listen, handler, *ip, *port),
        ListenAddress::Path(path) => path_obstacle(path),
        ListenAddress::Abstract(name) => taken(&unix_inodes(&format!("@{name}"))),
        // Only a virtual machine's host can tell.
        ListenAddress::Vsock(..) => None,
    }
}

fn internet(listen: &Listen, handler: &HandlerConfig, ip: IpAddr, port: u16) -> Option<Obstacle> {
    let error = match try_bind(listen.kind, handler, SocketAddr::new(ip, port)) {
        Ok(()) => return None,
        // Without IPv6, systemd uses 0.0.0.0.
        Err(Errno::AFNOSUPPORT) if matches!(listen.address, ListenAddress::Port(_)) => return None,
        Err(error) => error,
    };
    Some(match error {
        Errno::ADDRINUSE => Obstacle::Taken(processes(&internet_inodes(listen.kind, port))),
        Errno::ADDRNOTAVAIL => Obstacle::Other(
            "this machine has no such address (see `ip address`; for one that it will have: --set \
             socket.free-bind=true)"
                .to_owned(),
        ),
        Errno::ACCESS => Obstacle::Other(format!(
            "ports below {} are the system's (choose another, or leave --user out)",
            unprivileged()
        )),
        Errno::AFNOSUPPORT => Obstacle::Other("this machine has no IPv6 (write an IPv4 address)".to_owned()),
        error => Obstacle::Other(std::io::Error::from(error).to_string()),
    })
}

/// The first port that a user may have (`ip(7)`).
fn unprivileged() -> String {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    text.map_or_else(|_| "1024".to_owned(), |text| text.trim().to_owned())
}

/// Binds a socket to the address for a moment, as systemd will (`systemd.socket(5)`).
fn try_bind(kind: ListenKind, handler: &HandlerConfig, address: SocketAddr) -> Result<(), Errno> {
    let family = if address.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let is_udp = kind == ListenKind::Udp;
    let kind = if is_udp { SocketType::DGRAM } else { SocketType::STREAM };
    let socket: OwnedFd = socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    // With it, two sockets for datagrams could share the port.
    sockopt::set_socket_reuseaddr(&socket, !is_udp)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, handler.socket.ipv6_only == Some(true))?;
    }
    match bind(&socket, &address) {
        Err(Errno::ADDRNOTAVAIL) if handler.socket.free_bind == Some(true) => Ok(()),
        bound => bound,
    }
}

/// systemd removes a socket that was left in the file system, but nothing else, and does not ask whether it is in use.
fn path_obstacle(path: &str) -> Option<Obstacle> {
    if let Some(taken) = taken(&unix_inodes(path)) {
        return Some(taken);
    }
    let there = fs::symlink_metadata(path).ok()?;
    let is_socket = there.file_type().is_socket();
    (!is_socket).then(|| Obstacle::Other("a file of this name is there, and it is no socket (remove it)".to_owned()))
}

fn taken(inodes: &BTreeSet<String>) -> Option<Obstacle> {
    (!inodes.is_empty()).then(|| Obstacle::Taken(processes(inodes)))
}

/// The sockets at a port, by their inodes (`proc_net(5)`): for TCP those that listen.
fn internet_inodes(kind: ListenKind, port: u16) -> BTreeSet<String> {
    let (tables, states): (_, &[&str]) = match kind {
        ListenKind::Udp => (["udp", "udp6"], &["07", "01"]),
        _ => (["tcp", "tcp6"], &["0A"]),
    };
    let port = format!(":{port:04X}");
    let mut inodes = BTreeSet::new();
    for table in tables {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            if let [_, local, _, state, _, _, _, _, _, inode, ..] = fields[..]
                && local.ends_with(&port)
                && states.contains(&state)
            {
                inodes.insert(inode.to_owned());
            }
        }
    }
    inodes
}

/// The sockets that are bound to a path or (with `@`) an abstract name, and accept connections or datagrams.
fn unix_inodes(name: &str) -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let bound = text.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace();
        let [flags, kind] = [fields.nth(3)?, fields.next()?];
        let inode = fields.nth(1)?;
        let path = line.split_once(inode)?.1.strip_prefix(' ')?;
        // A connection that was accepted has the path of its listener, too.
        let receives = flags == "00010000" || kind == "0002";
        (path == name && receives).then(|| inode.to_owned())
    });
    bound.collect()
}

/// The processes that have one of these sockets, as far as they may be looked at.
fn processes(inodes: &BTreeSet<String>) -> Vec<Process> {
    let links: BTreeSet<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    let has_one = |pid: u32| {
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        let mut targets = descriptors.filter_map(|descriptor| fs::read_link(descriptor.path()).ok());
        targets.any(|target| target.to_str().is_some_and(|target| links.contains(target)))
    };
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let mut found: Vec<Process> = pids
        .filter(|pid| has_one(*pid))
        .map(|pid| Process {
            pid,
            name: fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("comm"))
                .map_or_else(|_| "?".to_owned(), |name| name.trim_end().to_owned()),
        })
        .collect();
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::{UnixDatagram, UnixListener};

    fn of(address: &str) -> Option<Obstacle> {
        obstacle(&Listen::parse(address).unwrap(), &HandlerConfig::default())
    }

    #[track_caller]
    fn assert_ours(obstacle: Option<Obstacle>) {
        let Some(Obstacle::Taken(processes)) = obstacle else {
            panic!("not taken: {obstacle:?}");
        };
        assert!(
            processes.iter().any(|process| process.pid == std::process::id()),
            "{processes:?}"
        );
    }

    #[test]
    fn a_port_in_use_names_the_process_that_has_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_ours(of(&port.to_string()));
        assert_ours(of(&format!("127.0.0.1:{port}")));
        assert_eq!(of(&format!("127.0.0.2:{port}")), None);
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_ours(of(&format!("udp:{port}")));
    }

    #[test]
    fn an_address_of_another_machine_is_an_obstacle() {
        let Some(Obstacle::Other(why)) = of("192.0.2.1:7000") else {
            panic!("it is free");
        };
        assert!(why.contains("no such address") && why.contains("free-bind"), "{why}");
    }

    #[test]
    fn a_unix_socket_in_use_names_the_process_and_a_stale_one_is_free() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a socket");
        let address = |kind: &str| format!("{kind}:{}", path.display());
        assert_eq!(of(&address("unix")), None);
        let listener = UnixListener::bind(&path).unwrap();
        assert_ours(of(&address("unix")));
        drop(listener);
        assert_eq!(of(&address("unix")), None, "it is stale");
        fs::remove_file(&path).unwrap();
        let _receiver = UnixDatagram::bind(&path).unwrap();
        assert_ours(of(&address("datagrams")));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "").unwrap();
        assert!(matches!(
            of(&address("packets")),
            Some(Obstacle::Taken(_) | Obstacle::Other(_))
        ));
    }
}
