//! The knock: one connection to the new service, to prove that it answers.

use crate::installation::interrupt::Interrupts;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use wasm_sock_config::{Access, HandlerConfig, Listen, ListenAddress, ListenKind};

/// How long an answer may take. The module is compiled already; the guest may wait for another service.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long a stream that stays open is read: a guest may talk for ever.
const LISTENING: Duration = Duration::from_secs(2);

/// How often interrupts are looked for.
const TICK: Duration = Duration::from_millis(100);

/// The most bytes of an answer that are kept.
const KEPT: usize = 64 << 10;

/// What is known after the knock.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// The status of the answer to `GET /`.
    Http { status: u16, time: Duration },
    /// The stream ended.
    Bytes { bytes: Vec<u8>, time: Duration },
    /// The stream stayed open.
    Open { bytes: Vec<u8> },
}

/// Why the handler is not knocked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// `--no-knock`
    Unwanted,
    /// It has no socket now: `--no-start`, `enabled = false`.
    Asleep,
    /// Only datagrams, or a schedule: there is nothing to connect to.
    NoStream,
    /// The guest may write files, or connect to others: a connection without a request might do something.
    NotHarmless,
}

impl Skip {
    pub fn reason(self) -> &'static str {
        match self {
            Self::Unwanted => "not tried (--no-knock)",
            Self::Asleep => "not tried: it is not started",
            Self::NoStream => "not tried: it has no stream to connect to",
            Self::NotHarmless => "not tried: the guest may write files or connect to others",
        }
    }
}

/// The address to knock at.
///
/// # Errors
/// Why there is none.
pub fn door(config: &HandlerConfig, is_http: bool) -> Result<&Listen, Skip> {
    // A GET is safe, whatever it is granted (RFC 9110, section 9.2.1).
    let may_write = config.dirs.iter().any(|grant| grant.access == Access::ReadWrite);
    let has_stream = |kind| matches!(kind, ListenKind::Tcp | ListenKind::Unix | ListenKind::Packets);
    let door = config
        .listen
        .iter()
        .find(|listen| has_stream(listen.kind))
        .ok_or(Skip::NoStream)?;
    let may_write = may_write || !config.keyvalue.is_empty() || !config.allow_outbound.is_empty();
    match !is_http && may_write {
        true => Err(Skip::NotHarmless),
        false => Ok(door),
    }
}

/// Connects, and reads the answer: to `GET /`, or to a stream that ends at once.
///
/// # Errors
/// What failed, as a message.
pub fn knock(listen: &Listen, is_http: bool, interrupts: &Interrupts) -> Result<Answer, String> {
    let started = Instant::now();
    let failed = |error: io::Error| match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
            format!("the connection to {listen} was reset: its guest failed")
        }
        _ => format!("{listen}: {error}"),
    };
    let mut stream = Stream::connect(listen).map_err(|error| match error.kind() {
        // A guest can fail before connect(2) has returned.
        ErrorKind::ConnectionReset => failed(error),
        _ => format!("cannot connect to {listen}: {error}"),
    })?;
    if is_http {
        let request =
            "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: wasm-sock-install\r\nConnection: close\r\n\r\n";
        stream.write(request.as_bytes()).map_err(failed)?;
    } else {
        // The peer may have closed it already.
        let _ = stream.shut_down();
    }
    let (bytes, has_ended) = read(&mut stream, is_http, interrupts).map_err(failed)?;
    let time = started.elapsed();
    match (is_http, has_ended) {
        (true, _) => http_answer(listen, &bytes, has_ended).map(|status| Answer::Http { status, time }),
        (false, true) => Ok(Answer::Bytes { bytes, time }),
        (false, false) => Ok(Answer::Open { bytes }),
    }
}

/// Reads until the end, or until it takes too long; returns whether it has ended.
fn read(stream: &mut Stream, is_http: bool, interrupts: &Interrupts) -> io::Result<(Vec<u8>, bool)> {
    let started = Instant::now();
    let mut bytes = Vec::new();
    let mut buffer = vec![0; KEPT];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok((bytes, true)),
            Ok(count) => {
                let room = KEPT.saturating_sub(bytes.len());
                bytes.extend_from_slice(&buffer[..count.min(room)]);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        interrupts.check().map_err(io::Error::other)?;
        let limit = if is_http || bytes.is_empty() {
            PATIENCE
        } else {
            LISTENING
        };
        if started.elapsed() > limit || bytes.len() == KEPT {
            return Ok((bytes, false));
        }
    }
}

/// The status of an answer, unless the host gave it because the guest did not.
fn http_answer(listen: &Listen, bytes: &[u8], has_ended: bool) -> Result<u16, String> {
    let text = String::from_utf8_lossy(bytes);
    let status_line = text.lines().next().unwrap_or_default();
    let status = status_line
        .strip_prefix("HTTP/1.1 ")
        .and_then(|rest| rest.split_once(' '));
    let status: Option<(u16, &str)> = status.and_then(|(code, reason)| Some((code.parse().ok()?, reason)));
    let Some((code, reason)) = status else {
        return Err(match (bytes.is_empty(), has_ended) {
            (true, false) => format!("GET / at {listen} had no answer in {} s", PATIENCE.as_secs()),
            _ => format!("GET / at {listen} had no answer: its guest failed"),
        });
    };
    // The host's own answers say nothing but their status.
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    let is_hosts = code >= 500 && body.contains(&format!("{code} {reason}\n"));
    match is_hosts {
        true => Err(format!("GET / at {listen} was answered by the host: {code} {reason}")),
        false => Ok(code),
    }
}

/// A connection over TCP or a Unix socket.
enum Stream {
    Tcp(TcpStream),
    /// Also one of packets: these read and write the same.
    Unix(UnixStream),
}

impl Stream {
    fn connect(listen: &Listen) -> io::Result<Self> {
        let unix = |address: &SocketAddrUnix| -> io::Result<Self> {
            let kind = match listen.kind {
                ListenKind::Packets => SocketType::SEQPACKET,
                _ => SocketType::STREAM,
            };
            let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
            connect(&socket, address)?;
            let stream = UnixStream::from(socket);
            stream.set_read_timeout(Some(TICK))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Self::Unix(stream))
        };
        match &listen.address {
            ListenAddress::Path(path) => unix(&SocketAddrUnix::new(path.as_str())?),
            ListenAddress::Abstract(name) => unix(&SocketAddrUnix::new_abstract_name(name.as_bytes())?),
            _ => {
                let address = reachable(listen).ok_or(ErrorKind::Unsupported)?;
                let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
                stream.set_read_timeout(Some(TICK))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                Ok(Self::Tcp(stream))
            }
        }
    }

    fn shut_down(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes),
            Self::Unix(stream) => stream.write_all(bytes),
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

/// The address at which this machine reaches a TCP or UDP socket: its own for one that listens at all.
pub fn reachable(listen: &Listen) -> Option<SocketAddr> {
    match listen.address {
        ListenAddress::Port(port) => Some((Ipv4Addr::LOCALHOST, port).into()),
        ListenAddress::Ip(ip, port) if ip.is_unspecified() => Some(match ip {
            IpAddr::V4(_) => (Ipv4Addr::LOCALHOST, port).into(),
            IpAddr::V6(_) => (std::net::Ipv6Addr::LOCALHOST, port).into(),
        }),
        ListenAddress::Ip(ip, port) => Some((ip, port).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    /// The knock at a server that answers `answer` to what it reads.
    fn at_server(is_http: bool, answer: &'static [u8]) -> Result<Answer, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut client, _) = listener.accept().unwrap();
            let mut request = [0; 1000];
            let count = client.read(&mut request).unwrap();
            client.write_all(answer).unwrap();
            String::from_utf8_lossy(&request[..count]).into_owned()
        });
        let answer = knock(&Listen::parse(&address).unwrap(), is_http, &Interrupts::default());
        let request = server.join().unwrap();
        assert_eq!(request.starts_with("GET / HTTP/1.1\r\n"), is_http);
        answer
    }

    #[test]
    fn a_stream_is_read_to_its_end() {
        let Ok(Answer::Bytes { bytes, .. }) = at_server(false, b"Hello\n") else {
            panic!("no answer");
        };
        assert_eq!(bytes, b"Hello\n");
    }

    #[test]
    fn only_the_hosts_own_failures_count() {
        let guests = at_server(true, b"HTTP/1.1 503 Service Unavailable\r\n\r\nWe are closed.\n");
        assert!(matches!(guests, Ok(Answer::Http { status: 503, .. })), "{guests:?}");
        let hosts = at_server(
            true,
            b"HTTP/1.1 500 Internal Server Error\r\n\r\n500 Internal Server Error\n",
        );
        assert!(
            hosts
                .unwrap_err()
                .ends_with("answered by the host: 500 Internal Server Error")
        );
        let found = at_server(true, b"HTTP/1.1 404 Not Found\r\n\r\n404 Not Found\n");
        assert!(matches!(found, Ok(Answer::Http { status: 404, .. })), "{found:?}");
        assert!(at_server(true, b"").unwrap_err().contains("had no answer"));
    }

    #[test]
    fn no_guest_is_knocked_at_that_could_do_something() {
        let mut config = HandlerConfig {
            listen: vec![Listen::parse("udp:53").unwrap()],
            ..HandlerConfig::default()
        };
        assert_eq!(door(&config, false), Err(Skip::NoStream));
        config.listen.push(Listen::parse("7000").unwrap());
        assert_eq!(door(&config, false).map(ToString::to_string), Ok("7000".to_owned()));
        config.dirs.push(wasm_sock_config::DirGrant {
            host: "/srv".into(),
            guest: "/srv".to_owned(),
            access: Access::ReadWrite,
        });
        assert_eq!(door(&config, false), Err(Skip::NotHarmless));
        assert!(door(&config, true).is_ok());
    }
}
