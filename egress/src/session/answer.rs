//! From a request to its answer: policy, names, connection, TLS.

use super::Session;
use super::limits::OfHandler;
use crate::policy::{self, Target};
use crate::{connect, relay, tls};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::pin::Pin;
use std::time::Duration;
use tokio::net::{TcpStream, UdpSocket, UnixStream};
use tokio::time::timeout;
use wasm_sock_config::{self as config, HandlerConfig, RedisAddress, StoreAddress};
use wasm_sock_egress_protocol::{Alpn, Answer, Ask, Failure, Transport};

/// The longest time-out, whatever a host says.
const LONGEST: Duration = Duration::from_secs(600);

/// An answer, with what belongs to it.
pub struct Answered {
    pub answer: Answer,
    pub descriptor: Option<OwnedFd>,
    /// Serves the other end of the descriptor.
    pub relay: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

/// Whom a request is for.
struct Handler<'a> {
    name: &'a str,
    settings: &'a HandlerConfig,
    limits: &'a OfHandler,
}

impl Session {
    pub(super) async fn answer(&self, handler: &str, ask: Ask, timeout_ms: u32) -> Result<Answered, Failure> {
        let limits = self.service.limits.of(handler);
        let _permit = limits.request()?;
        let settings = self.service.settings.of(handler)?;
        let handler = Handler {
            name: handler,
            settings: &settings,
            limits: &limits,
        };
        let within = Duration::from_millis(timeout_ms.into()).min(LONGEST);
        let answer = async {
            match ask {
                Ask::Connect { host, port, transport } => self.connect(&handler, &host, port, transport).await,
                Ask::Resolve { name } => self.resolve(&handler, &name).await,
                Ask::Store { name } => self.store(&handler, &name).await,
            }
        };
        timeout(within, answer).await.unwrap_or(Err(Failure::TimedOut))
    }

    async fn resolve(&self, handler: &Handler<'_>, name: &str) -> Result<Answered, Failure> {
        let name = match Target::new(name) {
            Target::Address(ip) => return Ok(addresses(vec![ip])),
            Target::Name(name) => name,
        };
        policy::check_lookup(handler.settings, &name)?;
        let found = self.look_up(handler, &name).await?;
        let found = policy::admit_looked_up(handler.settings, &name, found)?;
        self.remember(handler.name, &name, &found);
        Ok(addresses(found))
    }

    async fn look_up(&self, handler: &Handler<'_>, name: &str) -> Result<Vec<IpAddr>, Failure> {
        self.service
            .resolver
            .addresses(name, handler.limits.lookups.clone())
            .await
    }

    async fn connect(
        &self,
        handler: &Handler<'_>,
        host: &str,
        port: u16,
        transport: Transport,
    ) -> Result<Answered, Failure> {
        let (target, purpose) = (Target::new(host), purpose(transport));
        let addresses = match &target {
            Target::Address(ip) => {
                let names = self.names_of(handler.name, *ip);
                policy::check(handler.settings, &target, port, purpose, names)?;
                vec![*ip]
            }
            Target::Name(name) => {
                policy::check(handler.settings, &target, port, purpose, [])?;
                let found = self.look_up(handler, name).await?;
                policy::admit(handler.settings, name, found, port, purpose)?
            }
        };
        match transport {
            Transport::Udp => datagrams(handler, &addresses, port).await,
            Transport::Tcp | Transport::Http => tcp(connect::tcp(&addresses, port).await?),
            Transport::Tls | Transport::Https => {
                let host = match target {
                    Target::Address(ip) => ip.to_string(),
                    Target::Name(name) => name,
                };
                let stream = connect::tcp(&addresses, port).await?;
                self.secure(handler, &host, stream, transport == Transport::Https).await
            }
        }
    }

    /// Connects to the server of a store. Which it is, is the configuration's to say: its address need not be public.
    async fn store(&self, handler: &Handler<'_>, name: &str) -> Result<Answered, Failure> {
        let store = handler.settings.keyvalue.iter().find(|store| store.name == name);
        let Some(StoreAddress::Redis(server)) = store.map(|store| &store.at) else {
            let entry = format!("keyvalue = {{ {name:?} = \"redis://...\" }} would allow it");
            return Err(Failure::Denied(entry));
        };
        let (host, port, tls) = match &server.address {
            RedisAddress::Unix(path) => return unix(path).await,
            RedisAddress::Tcp { host, port, tls } => (host, *port, *tls),
        };
        let addresses = match Target::new(host) {
            Target::Address(ip) => vec![ip],
            Target::Name(name) => self.look_up(handler, &name).await?,
        };
        let stream = connect::tcp(&addresses, port).await?;
        match tls {
            true => self.secure(handler, host, stream, false).await,
            false => tcp(stream),
        }
    }

    /// Does the handshake, and has plain bytes relayed.
    async fn secure(
        &self,
        handler: &Handler<'_>,
        host: &str,
        stream: TcpStream,
        for_http: bool,
    ) -> Result<Answered, Failure> {
        let permit = handler.limits.relay()?;
        let (peer, local) = (stream.peer_addr().ok(), stream.local_addr().ok());
        let config = self.service.tls.of(handler.name, &handler.settings.tls, for_http)?;
        let handshake = self.service.limits.handshakes.acquire().await;
        let (stream, protocol) = tls::connect(config, host, stream).await?;
        drop(handshake);
        let (ours, theirs) = pair(SocketType::STREAM)?;
        let ours = UnixStream::from_std(ours.into()).map_err(|error| internal(&error))?;
        let relay = async move {
            relay::stream(stream, ours).await;
            drop(permit);
        };
        Ok(Answered {
            answer: Answer::Connected { peer, local, protocol },
            descriptor: Some(theirs),
            relay: Some(Box::pin(relay)),
        })
    }
}

async fn datagrams(handler: &Handler<'_>, addresses: &[IpAddr], port: u16) -> Result<Answered, Failure> {
    let permit = handler.limits.relay()?;
    let mut last = Failure::NotFound;
    for ip in addresses {
        let socket = match connect::udp(*ip, port).await {
            Ok(socket) => socket,
            Err(failure) => {
                last = failure;
                continue;
            }
        };
        let (peer, local) = udp_addresses(&socket);
        let (ours, theirs) = pair(SocketType::SEQPACKET)?;
        let relay = async move {
            // Both ends are closed then.
            let _ = relay::datagrams(socket, ours).await;
            drop(permit);
        };
        return Ok(Answered {
            answer: Answer::Connected {
                peer,
                local,
                protocol: None,
            },
            descriptor: Some(theirs),
            relay: Some(Box::pin(relay)),
        });
    }
    Err(last)
}

fn udp_addresses(socket: &UdpSocket) -> (Option<SocketAddr>, Option<SocketAddr>) {
    (socket.peer_addr().ok(), socket.local_addr().ok())
}

async fn unix(path: &Path) -> Result<Answered, Failure> {
    let stream = connect::unix(path)
        .await?
        .into_std()
        .map_err(|error| internal(&error))?;
    Ok(Answered {
        answer: Answer::Connected {
            peer: None,
            local: None,
            protocol: None,
        },
        descriptor: Some(stream.into()),
        relay: None,
    })
}

fn tcp(stream: TcpStream) -> Result<Answered, Failure> {
    let (peer, local) = (stream.peer_addr().ok(), stream.local_addr().ok());
    let stream = stream.into_std().map_err(|error| internal(&error))?;
    let protocol: Option<Alpn> = None;
    Ok(Answered {
        answer: Answer::Connected { peer, local, protocol },
        descriptor: Some(stream.into()),
        relay: None,
    })
}

fn addresses(found: Vec<IpAddr>) -> Answered {
    Answered {
        answer: Answer::Addresses(found),
        descriptor: None,
        relay: None,
    }
}

/// Two connected Unix sockets; the first is for this process.
fn pair(kind: SocketType) -> Result<(OwnedFd, OwnedFd), Failure> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socketpair(AddressFamily::UNIX, kind, flags, None).map_err(|error| internal(&error.into()))
}

fn internal(error: &io::Error) -> Failure {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => Failure::Limit,
        _ => Failure::Internal(error.to_string()),
    }
}

fn purpose(transport: Transport) -> config::Transport {
    match transport {
        Transport::Tcp | Transport::Tls => config::Transport::Tcp,
        Transport::Udp => config::Transport::Udp,
        Transport::Http => config::Transport::Http { tls: false },
        Transport::Https => config::Transport::Http { tls: true },
    }
}
