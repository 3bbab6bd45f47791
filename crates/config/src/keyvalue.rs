//! `keyvalue`: the stores that a guest may open, each embedded or of a server that speaks Redis' protocol.

use std::fmt::{self, Debug, Display, Formatter};
use std::path::PathBuf;
use std::time::Duration;

/// The least `keyvalue-quota`, in bytes: the store itself takes 20 KiB.
pub const LEAST_KEYVALUE_QUOTA: u64 = 64 << 10;

/// The port of Redis and Valkey.
const PORT: u16 = 6379;

/// A store that a guest may open by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyValue {
    pub name: String,
    pub at: StoreAddress,
    /// How long an entry lives after it was set. `None`: until it is deleted.
    pub lifetime: Option<Duration>,
    /// What the keys begin with on a server. `None`: the handler's name and the store's (`HANDLER:STORE:`).
    pub prefix: Option<String>,
}

/// Where a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreAddress {
    /// In the handler's own file.
    Embedded,
    Redis(RedisServer),
}

/// A server that speaks the protocol of Redis: Redis, Valkey and others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RedisServer {
    pub address: RedisAddress,
    pub user: Option<String>,
    pub password: Option<Password>,
    /// The number of the database.
    pub database: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RedisAddress {
    /// A name or an address, without brackets.
    Tcp { host: String, port: u16, tls: bool },
    /// The absolute path of a socket.
    Unix(PathBuf),
}

/// A password, which is shown nowhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The password itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl Debug for Password {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl StoreAddress {
    /// Reads `embedded`, `redis://[USER:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://…` (TLS) or
    /// `redis+unix:///PATH[?db=DATABASE]`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        if text == "embedded" {
            return Some(Self::Embedded);
        }
        let (scheme, rest) = text.split_once("://")?;
        match scheme {
            "redis" => tcp(rest, false),
            "rediss" => tcp(rest, true),
            "redis+unix" => unix(rest),
            _ => None,
        }
        .map(Self::Redis)
    }
}

fn tcp(rest: &str, tls: bool) -> Option<RedisServer> {
    let (authority, database) = match rest.split_once('/') {
        Some((authority, "")) => (authority, 0),
        Some((authority, database)) => (authority, database.parse().ok()?),
        None => (rest, 0),
    };
    let (credentials, place) = match authority.rsplit_once('@') {
        Some((credentials, place)) => (Some(credentials), place),
        None => (None, authority),
    };
    let (user, password) = match credentials.map(|both| both.split_once(':').unwrap_or((both, ""))) {
        Some((user, password)) => (Some(decode(user)?), Some(decode(password)?)),
        None => (None, None),
    };
    let (host, port) = host_and_port(place)?;
    Some(RedisServer {
        address: RedisAddress::Tcp { host, port, tls },
        user: user.filter(|user| !user.is_empty()),
        password: password.filter(|password| !password.is_empty()).map(Password),
        database,
    })
}

fn host_and_port(place: &str) -> Option<(String, u16)> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port.strip_prefix(':').or_else(|| port.is_empty().then_some(""))?)
        }
        None => place.rsplit_once(':').unwrap_or((place, "")),
    };
    let is_in_host = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    let has_colon = host.contains(':') && !place.starts_with('[');
    if host.is_empty() || has_colon || !host.bytes().all(is_in_host) {
        return None;
    }
    let port = match port {
        "" => PORT,
        port => port.parse().ok().filter(|port| *port != 0)?,
    };
    Some((host.to_ascii_lowercase(), port))
}

fn unix(rest: &str) -> Option<RedisServer> {
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if !path.starts_with('/') || path.contains('\0') {
        return None;
    }
    let mut server = RedisServer {
        address: RedisAddress::Unix(PathBuf::from(decode(path)?)),
        user: None,
        password: None,
        database: 0,
    };
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=')?;
        match name {
            "db" => server.database = value.parse().ok()?,
            "user" => server.user = Some(decode(value)?),
            "pass" => server.password = Some(Password(decode(value)?)),
            _ => return None,
        }
    }
    Some(server)
}

/// Decodes `%XX` (RFC 3986, 2.1).
fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        decoded.push((digit()? * 16 + digit()?) as u8);
    }
    String::from_utf8(decoded).ok()
}

/// Without user and password.
impl Display for StoreAddress {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self::Redis(server) = self else {
            return f.write_str("embedded");
        };
        match &server.address {
            RedisAddress::Tcp { host, port, tls } => {
                let scheme = if *tls { "rediss" } else { "redis" };
                match host.contains(':') {
                    true => write!(f, "{scheme}://[{host}]:{port}/{}", server.database),
                    false => write!(f, "{scheme}://{host}:{port}/{}", server.database),
                }
            }
            RedisAddress::Unix(path) => write!(f, "redis+unix://{}?db={}", path.display(), server.database),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        StoreAddress::parse(text).map(|address| address.to_string())
    }

    #[test]
    fn addresses_are_read_and_shown_without_passwords() {
        for (text, expected) in [
            ("embedded", "embedded"),
            ("redis://localhost", "redis://localhost:6379/0"),
            ("redis://u:p%40ss@Cache.example:7000/3", "redis://cache.example:7000/3"),
            ("rediss://:secret@[2001:db8::1]:6380/", "rediss://[2001:db8::1]:6380/0"),
            ("redis://[::1]", "redis://[::1]:6379/0"),
            (
                "redis+unix:///run/valkey.sock?db=2&pass=x",
                "redis+unix:///run/valkey.sock?db=2",
            ),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        let address = StoreAddress::parse("redis://u:p%40ss@h").unwrap();
        assert!(!format!("{address:?}").contains("p@ss"));
        let StoreAddress::Redis(server) = address else {
            unreachable!()
        };
        assert_eq!(server.password.unwrap().reveal(), "p@ss");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "Embedded",
            "http://x",
            "redis:",
            "redis://",
            "redis://:1",
            "redis://h:0",
            "redis://h:x",
            "redis://h/x",
            "redis://a b",
            "redis://::1",
            "redis://[::1",
            "redis://[h]",
            "redis://h:1%zz@",
            "redis+unix://run/x",
            "redis+unix:///x?y=1",
            "redis://%ff@h",
        ] {
            assert_eq!(shown(text), None, "{text}");
        }
    }
}
