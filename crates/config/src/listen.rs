//! `listen`: parses the addresses at which systemd listens for a handler.

mod clash;
#[cfg(test)]
mod tests;

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::error::quoted;
use super::suggest::closest;

pub use clash::Clash;
pub(super) use clash::{clashes, clashing};

/// Bytes of a path that fit `sun_path` with the NUL after it, or of an abstract name with the NUL before it (unix(7)).
const MAX_PATH: usize = 107;

/// A socket that systemd makes for a handler (systemd.socket(5)).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listen {
    pub kind: ListenKind,
    pub address: ListenAddress,
    /// As it was written, for messages.
    written: String,
}

/// The kind of socket: protocol and semantics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ListenKind {
    Tcp,
    Udp,
    /// A Unix stream socket.
    Unix,
    /// A Unix socket of type SOCK_SEQPACKET.
    Packets,
    /// A Unix datagram socket.
    Datagrams,
    /// An AF_VSOCK stream socket.
    Vsock,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// All addresses of the machine, of IPv6 and IPv4, at this port (never 0).
    Port(u16),
    /// One address, or all of a family, at this port (never 0).
    Ip(IpAddr, u16),
    /// An absolute path without `.`, `..`, empty names and control characters.
    Path(String),
    /// The name without the `@`: no control characters.
    Abstract(String),
    /// A port of a context ID (vsock(7)). `None`: of any.
    Vsock(Option<u32>, u32),
}

const KINDS: [(&str, ListenKind); 6] = [
    ("tcp", ListenKind::Tcp),
    ("udp", ListenKind::Udp),
    ("unix", ListenKind::Unix),
    ("packets", ListenKind::Packets),
    ("datagrams", ListenKind::Datagrams),
    ("vsock", ListenKind::Vsock),
];
const KIND_NAMES: &[&str] = &["tcp", "udp", "unix", "packets", "datagrams", "vsock"];

/// What others call a kind.
const ALIASES: [(&str, &str); 10] = [
    ("tcp4", "tcp"),
    ("tcp6", "tcp"),
    ("http", "tcp"),
    ("https", "tcp"),
    ("stream", "tcp"),
    ("udp4", "udp"),
    ("udp6", "udp"),
    ("seqpacket", "packets"),
    ("unixgram", "datagrams"),
    ("dgram", "datagrams"),
];

/// Ports of services whose names are likely to be written (/etc/services is not read).
const SERVICES: [(&str, u16); 8] = [
    ("http", 80),
    ("https", 443),
    ("domain", 53),
    ("dns", 53),
    ("gopher", 70),
    ("finger", 79),
    ("daytime", 13),
    ("echo", 7),
];

impl Listen {
    /// Reads an address as in `listen`.
    ///
    /// # Errors
    /// A sentence fit for the user: what is wrong and what to write.
    pub fn parse(text: &str) -> Result<Listen, String> {
        let (kind, address) = parse(text).map_err(|why| format!("cannot be {}: {why}", quoted(text)))?;
        Ok(Listen {
            kind,
            address,
            written: text.to_owned(),
        })
    }

    /// The setting of systemd.socket(5) that makes such a socket.
    pub fn directive(&self) -> &'static str {
        match self.kind {
            ListenKind::Tcp | ListenKind::Unix | ListenKind::Vsock => "ListenStream",
            ListenKind::Udp | ListenKind::Datagrams => "ListenDatagram",
            ListenKind::Packets => "ListenSequentialPacket",
        }
    }

    /// The value of [`Listen::directive`], before specifiers are escaped.
    pub fn systemd_address(&self) -> String {
        match &self.address {
            ListenAddress::Port(port) => port.to_string(),
            ListenAddress::Ip(IpAddr::V4(ip), port) => format!("{ip}:{port}"),
            ListenAddress::Ip(IpAddr::V6(ip), port) => format!("[{ip}]:{port}"),
            ListenAddress::Path(path) => path.clone(),
            ListenAddress::Abstract(name) => format!("@{name}"),
            ListenAddress::Vsock(None, port) => format!("vsock::{port}"),
            ListenAddress::Vsock(Some(cid), port) => format!("vsock:{cid}:{port}"),
        }
    }

    /// The one way to write this address that is the same for all that mean the same: `7000`, `udp:5353`,
    /// `unix:/run/hello.sock`.
    pub fn canonical(&self) -> String {
        let prefix = match self.kind {
            ListenKind::Tcp | ListenKind::Vsock => "",
            ListenKind::Udp => "udp:",
            ListenKind::Unix => "unix:",
            ListenKind::Packets => "packets:",
            ListenKind::Datagrams => "datagrams:",
        };
        format!("{prefix}{}", self.systemd_address())
    }

    /// Whether a message has no connection: `ListenDatagram=`.
    pub fn is_datagram(&self) -> bool {
        matches!(self.kind, ListenKind::Udp | ListenKind::Datagrams)
    }

    /// The file of a Unix socket.
    pub fn path(&self) -> Option<&str> {
        match &self.address {
            ListenAddress::Path(path) => Some(path),
            _ => None,
        }
    }
}

/// As it was written.
impl Display for Listen {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

fn parse(text: &str) -> Result<(ListenKind, ListenAddress), String> {
    if let Some((scheme, _)) = text.split_once("://") {
        let port = SERVICES
            .iter()
            .find(|(name, _)| *name == scheme)
            .map_or(8080, |(_, port)| *port);
        return Err(format!(
            "it is a URL (write the port or the address: \"{port}\", \"127.0.0.1:{port}\")"
        ));
    }
    if text.starts_with(['/', '@']) {
        return Err(format!(
            "the kind is missing (write {}, or packets:…, datagrams:…)",
            quoted(&format!("unix:{text}"))
        ));
    }
    let Some((prefix, rest)) = text.split_once(':') else {
        return Ok((ListenKind::Tcp, inet(text, "")?));
    };
    if let Some((name, kind)) = KINDS.iter().find(|(name, _)| *name == prefix) {
        let address = match kind {
            ListenKind::Tcp | ListenKind::Udp => inet(rest, &format!("{name}:"))?,
            ListenKind::Unix | ListenKind::Packets | ListenKind::Datagrams => unix(rest, name)?,
            ListenKind::Vsock => vsock(rest)?,
        };
        return Ok((*kind, address));
    }
    let lower = prefix.to_ascii_lowercase();
    let alias = ALIASES.iter().find(|(alias, _)| *alias == lower).map(|(_, kind)| *kind);
    if let Some(meant) = alias.or_else(|| closest(&lower, KIND_NAMES)) {
        let meant = quoted(&format!("{meant}:{rest}"));
        return Err(format!(
            "{} is no kind of socket (did you mean {meant}? kinds: {})",
            quoted(prefix),
            KIND_NAMES.join(", ")
        ));
    }
    Ok((ListenKind::Tcp, inet(text, "")?))
}

/// `PORT`, `IPV4:PORT` or `[IPV6]:PORT`; `kind` is what stands before it, for messages.
fn inet(text: &str, kind: &str) -> Result<ListenAddress, String> {
    if text.is_empty() {
        return Err(format!(
            "it is empty (write a port or an address: \"{kind}7000\", \"{kind}127.0.0.1:7000\")"
        ));
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(ListenAddress::Port(port(text)?));
    }
    if let Some(bracketed) = text.strip_prefix('[') {
        return ipv6(bracketed, kind);
    }
    if let Ok(ip) = text.parse::<IpAddr>() {
        let example = match ip {
            IpAddr::V4(_) => format!("{kind}{ip}:7000"),
            IpAddr::V6(_) => format!("{kind}[{ip}]:7000"),
        };
        return Err(format!("the port is missing (write \"{example}\")"));
    }
    let (host, number) = text.rsplit_once(':').unwrap_or((text, ""));
    if host.is_empty() || host == "*" {
        return Err(format!(
            "a port of all addresses stands alone (write \"{kind}{}\")",
            number_or(number, "7000")
        ));
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(ListenAddress::Ip(ip.into(), port(number)?));
    }
    if host.contains(':') {
        return Err(format!(
            "an IPv6 address stands in brackets (write \"{kind}[::1]:{}\")",
            number_or(number, "7000")
        ));
    }
    if number.is_empty() && !text.contains(':') {
        let port = SERVICES
            .iter()
            .find(|(name, _)| *name == host)
            .map_or(7000, |(_, port)| *port);
        return Err(format!(
            "it is neither a port nor an address (write \"{kind}{port}\", \"{kind}127.0.0.1:{port}\")"
        ));
    }
    let number = number_or(number, "7000");
    Err(format!(
        "{} is a host name, or no kind of socket (names are not looked up: write an address such as \
         \"{kind}127.0.0.1:{number}\"; kinds: {})",
        quoted(host),
        KIND_NAMES.join(", ")
    ))
}

/// `IPV6]:PORT`
fn ipv6(text: &str, kind: &str) -> Result<ListenAddress, String> {
    let Some((host, rest)) = text.split_once(']') else {
        return Err(format!("\"]\" is missing (write \"{kind}[::1]:7000\")"));
    };
    if let Some((_, zone)) = host.split_once('%') {
        return Err(format!(
            "an interface stands in \"socket\" (write socket = {{ interface = {} }})",
            quoted(zone)
        ));
    }
    let Ok(ip) = host.parse::<Ipv6Addr>() else {
        return Err(format!(
            "{} is no IPv6 address (as in \"{kind}[::1]:7000\")",
            quoted(host)
        ));
    };
    match rest.strip_prefix(':') {
        Some(number) => Ok(ListenAddress::Ip(ip.into(), port(number)?)),
        None => Err(format!("the port is missing (write \"{kind}[{ip}]:7000\")")),
    }
}

fn port(text: &str) -> Result<u16, String> {
    match text.parse() {
        Ok(port) if port != 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(port),
        _ => Err(format!("{} is no port (allowed: 1 to 65535)", quoted(text))),
    }
}

/// `text` if it can be repeated as a port in a message.
fn number_or<'a>(text: &'a str, example: &'a str) -> &'a str {
    port(text).map_or(example, |_| text)
}

/// A path, or `@` and an abstract name.
fn unix(text: &str, kind: &str) -> Result<ListenAddress, String> {
    // A line of a unit file is stripped, continues after a backslash, and has no way to quote an address.
    if text.contains(char::is_control) || text != text.trim() || text.ends_with('\\') {
        return Err("a unit file cannot have such a name \
                    (no control characters, no space at its ends, no \"\\\" at the end)"
            .to_owned());
    }
    if let Some(name) = text.strip_prefix('@') {
        return match name.len() {
            0 => Err(format!("the abstract name is empty (as in \"{kind}:@hello\")")),
            1..=MAX_PATH => Ok(ListenAddress::Abstract(name.to_owned())),
            length => Err(format!("the abstract name has {length} bytes (allowed: {MAX_PATH})")),
        };
    }
    if !text.starts_with('/') {
        let name = text.rsplit('/').next().filter(|name| !matches!(*name, "" | "." | ".."));
        let example = quoted(&format!("{kind}:/run/{}", name.unwrap_or("hello.sock")));
        return Err(format!(
            "the path is not absolute (as in {example}; abstract names begin with \"@\")"
        ));
    }
    let names: Vec<&str> = text.split('/').filter(|name| !matches!(*name, "" | ".")).collect();
    if names.is_empty() || names.contains(&"..") || text.ends_with('/') {
        return Err(format!(
            "it must be the path of a file, without \"..\" (as in \"{kind}:/run/hello.sock\")"
        ));
    }
    let path = format!("/{}", names.join("/"));
    match path.len() {
        1..=MAX_PATH => Ok(ListenAddress::Path(path)),
        length => Err(format!(
            "the path has {length} bytes, and the kernel takes {MAX_PATH} (choose a shorter one)"
        )),
    }
}

/// `:PORT` or `CID:PORT`. The largest number means "any" to the kernel.
fn vsock(text: &str) -> Result<ListenAddress, String> {
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| digits && *number != u32::MAX)
    };
    let Some((cid, port)) = text.split_once(':') else {
        return Err(format!(
            "the context ID is missing (write \"vsock::{}\" for any)",
            number(text).unwrap_or(7000)
        ));
    };
    let wrong = |what: &str| format!("{what} (as in \"vsock::7000\", or with a context ID \"vsock:2:7000\")");
    let port = number(port)
        .filter(|port| *port != 0)
        .ok_or_else(|| wrong("the port is no number from 1 to 4294967294"))?;
    match cid {
        "" => Ok(ListenAddress::Vsock(None, port)),
        _ => match number(cid) {
            Some(cid) => Ok(ListenAddress::Vsock(Some(cid), port)),
            None => Err(wrong("the context ID is no number")),
        },
    }
}
