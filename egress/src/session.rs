//! The connection of one host: requests, replies.

mod answer;
mod limits;
mod reply;

use crate::log;
use crate::peer::Peer;
use crate::policy::Settings;
use crate::resolve::Resolver;
use crate::tls::Configurations;
use limits::Limits;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use wasm_sock_config::valid_handler_name;
use wasm_sock_egress_protocol::{Failure, MAX_MESSAGE, Request, decode};

/// The most requests of a host that are answered at a time. The next ones stay in the socket.
const MOST_REQUESTS: usize = 1024;

/// The most addresses of a handler that are remembered for a host.
const MOST_FOUND: usize = 1024;

/// What all hosts share.
pub struct Service {
    settings: Settings,
    resolver: Resolver,
    tls: Configurations,
    limits: Limits,
}

impl Service {
    /// `config` is the argument of `--config`.
    pub fn new(config: Option<PathBuf>) -> Self {
        Self {
            settings: Settings::new(config),
            resolver: Resolver::new(),
            tls: Configurations::default(),
            limits: Limits::default(),
        }
    }
}

/// The connection of one host.
pub struct Session {
    socket: AsyncFd<OwnedFd>,
    peer: Peer,
    service: Arc<Service>,
    requests: Arc<Semaphore>,
    /// What guests of a handler have found by looking names up: they connect to addresses.
    found: Mutex<HashMap<String, VecDeque<(String, IpAddr)>>>,
}

impl Session {
    /// # Errors
    /// Those of `epoll_ctl(2)`.
    pub fn new(socket: OwnedFd, peer: Peer, service: Arc<Service>) -> io::Result<Arc<Self>> {
        Ok(Arc::new(Self {
            // SAFETY: an owned descriptor is open, and has one number, for as long as it lives.
            socket: unsafe { AsyncFd::register(socket) }?,
            peer,
            service,
            requests: Arc::new(Semaphore::new(MOST_REQUESTS)),
            found: Mutex::default(),
        }))
    }

    /// Answers requests until the host has ended. Connections that it was given by TLS go on as long as it keeps them.
    pub async fn serve(self: Arc<Self>) {
        let mut packet = vec![0; MAX_MESSAGE];
        while let Ok(permit) = self.requests.clone().acquire_owned().await {
            let receive = |socket: &OwnedFd| Ok(rustix::io::read(socket, &mut packet)?);
            let request = match self.socket.async_io(tokio::io::Interest::READABLE, receive).await {
                Ok(0) | Err(_) => return,
                Ok(length) => decode::<Request>(packet.get(..length).unwrap_or_default()),
            };
            let request = match request {
                Ok(request) => request,
                // The host says the same when the connection ends.
                Err(error) => return log::warning(error),
            };
            let session = self.clone();
            tokio::spawn(async move {
                session.reply_to(request).await;
                drop(permit);
            });
        }
    }

    async fn reply_to(&self, request: Request) {
        let Request {
            id,
            handler,
            ask,
            timeout_ms,
        } = request;
        let result = match self.admits(&handler) {
            Ok(()) => self.answer(&handler, ask, timeout_ms).await,
            Err(failure) => Err(failure),
        };
        self.reply(id, result).await;
    }

    fn admits(&self, handler: &str) -> Result<(), Failure> {
        match valid_handler_name(handler) && self.peer.may_ask_for(handler) {
            true => Ok(()),
            false => {
                let why = format!("{:?} asks as the service of another handler ({:?})", handler, self.peer);
                log::warning(format_args!("refused: {why}"));
                Err(Failure::Denied(why))
            }
        }
    }

    /// The names by which guests of the handler have found an address.
    fn names_of(&self, handler: &str, ip: IpAddr) -> Vec<String> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let of_handler = found.get(handler).into_iter().flatten();
        of_handler
            .filter(|(_, found)| *found == ip)
            .map(|(name, _)| name.clone())
            .collect()
    }

    fn remember(&self, handler: &str, name: &str, addresses: &[IpAddr]) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let of_handler = found.entry(handler.to_owned()).or_default();
        for ip in addresses {
            let entry = (name.to_owned(), *ip);
            if !of_handler.contains(&entry) {
                of_handler.push_back(entry);
            }
        }
        let too_many = of_handler.len().saturating_sub(MOST_FOUND);
        of_handler.drain(..too_many);
    }
}
