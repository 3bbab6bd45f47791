//! Connects by TCP and UDP.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpStream, UdpSocket, UnixStream};
use tokio::task::JoinSet;
use wasm_sock_egress_protocol::Failure;

/// How long an address is given before the next one is tried beside it (RFC 8305, section 5).
const STAGGER: Duration = Duration::from_millis(250);

/// Connects to the first of the addresses that answers. At least one is needed.
///
/// # Errors
/// That of the last address that failed.
pub async fn tcp(addresses: &[IpAddr], port: u16) -> Result<TcpStream, Failure> {
    let mut attempts = JoinSet::new();
    let mut failure = Failure::NotFound;
    let mut rest = addresses.iter();
    loop {
        let next = rest.next();
        if let Some(ip) = next {
            attempts.spawn(TcpStream::connect(SocketAddr::new(*ip, port)));
        }
        let ended = async { attempts.join_next().await };
        let ended = match next {
            Some(_) if rest.len() > 0 => match tokio::time::timeout(STAGGER, ended).await {
                Ok(ended) => ended,
                Err(_) => continue,
            },
            _ => ended.await,
        };
        match ended {
            Some(Ok(Ok(stream))) => {
                // Small messages are not held back.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Some(Ok(Err(error))) => failure = failed(&error),
            Some(Err(error)) => failure = Failure::Internal(error.to_string()),
            None => return Err(failure),
        }
    }
}

/// A socket for datagrams from and to the address.
///
/// # Errors
/// See [`Failure`].
pub async fn udp(ip: IpAddr, port: u16) -> Result<UdpSocket, Failure> {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let connect = async {
        let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
        socket.connect(SocketAddr::new(ip, port)).await?;
        Ok(socket)
    };
    connect.await.map_err(|error| failed(&error))
}

/// Connects to a Unix socket.
///
/// # Errors
/// See [`Failure`].
pub async fn unix(path: &Path) -> Result<UnixStream, Failure> {
    UnixStream::connect(path).await.map_err(|error| failed(&error))
}

fn failed(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        io::ErrorKind::TimedOut => Failure::TimedOut,
        _ => match error.raw_os_error() {
            Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::EADDRNOTAVAIL | libc::EAGAIN) => Failure::Limit,
            _ => Failure::Unreachable(error.to_string()),
        },
    }
}
