//! The sockets that the kernel has, whoever holds them: all of them at once, for many addresses.

use std::collections::HashSet;
use std::fs;
use wasm_sock_config::{Listen, ListenAddress, ListenKind};

/// Places at which something listens or receives, as the kernel writes them: `tcp:1F90`, `udp:0035`, `/run/x`, `@x`.
pub struct OpenSockets(HashSet<String>);

impl OpenSockets {
    /// Reads `/proc/net` (`proc_net(5)`).
    pub fn now() -> Self {
        let mut places = HashSet::new();
        for (kind, table) in [("tcp", "tcp"), ("tcp", "tcp6"), ("udp", "udp"), ("udp", "udp6")] {
            places.extend(internet(kind, &read(table)));
        }
        places.extend(unix(&read("unix")));
        Self(places)
    }

    /// Is there a socket at this address, or at its port? (Sockets of virtual machines are in no table: yes.)
    pub fn has(&self, listen: &Listen) -> bool {
        let kind = if listen.kind == ListenKind::Udp { "udp" } else { "tcp" };
        match &listen.address {
            ListenAddress::Port(port) | ListenAddress::Ip(_, port) => self.0.contains(&format!("{kind}:{port:04X}")),
            ListenAddress::Path(path) => self.0.contains(path),
            ListenAddress::Abstract(name) => self.0.contains(&format!("@{name}")),
            ListenAddress::Vsock(..) => true,
        }
    }
}

fn read(table: &str) -> String {
    let bytes = fs::read(format!("/proc/net/{table}")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Ports of TCP sockets that listen (state 0A), and of all UDP sockets.
fn internet(kind: &str, table: &str) -> Vec<String> {
    let rows = table.lines().skip(1).filter_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let (local, state) = (fields.next()?, fields.nth(1)?);
        let (_, port) = local.rsplit_once(':')?;
        (kind == "udp" || state == "0A").then(|| format!("{kind}:{port}"))
    });
    rows.collect()
}

/// Names of Unix sockets. A name has spaces, perhaps; it is what follows the seventh column.
fn unix(table: &str) -> Vec<String> {
    let rows = table.lines().skip(1).filter_map(|line| {
        let inode = line.split_whitespace().nth(6)?;
        let (_, name) = line.split_once(&format!(" {inode} "))?;
        Some(name.to_owned())
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};
    use std::os::unix::net::UnixListener;
    use std::thread::sleep;
    use std::time::{Duration, Instant};

    #[test]
    fn sockets_are_there_as_long_as_they_are_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a b");
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let unix = UnixListener::bind(&path).unwrap();
        let addresses = [
            tcp.local_addr().unwrap().to_string(),
            format!("udp:{}", udp.local_addr().unwrap()),
            format!("unix:{}", path.display()),
        ];
        let open = || {
            let now = OpenSockets::now();
            addresses
                .clone()
                .map(|address| now.has(&Listen::parse(&address).unwrap()))
        };
        assert_eq!(open(), [true; 3]);
        drop((tcp, udp, unix));
        // A test that starts a program at this moment holds copies of them until it is started.
        let deadline = Instant::now() + Duration::from_secs(5);
        while open() != [false; 3] && Instant::now() < deadline {
            sleep(Duration::from_millis(1));
        }
        assert_eq!(open(), [false; 3]);
    }
}
