//! Reaching out, for one guest: asks `wasm-sock-egress`, which enforces `allow-outbound`, and logs what is refused, with
//! what would allow it.

use super::environment::GuestContext;
use crate::config::{HandlerConfig, Outbound, Scope};
use crate::egress::{Ask, Connected, Failure, Transport};
use crate::journal::{Level, Window};
use crate::sandbox::Needs;
use crate::sync::lock;
use std::fmt::Display;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// How long a connection of a socket, or a lookup, may take. The handler's `timeout` may end the guest before.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Adds the way out, if the handler needs it, to what the sandbox has to allow.
pub fn add_needs(handler: &HandlerConfig, needs: &mut Needs) {
    if handler.reaches_out() {
        needs.add_reaching_out();
    }
}

/// The way out of one guest.
pub struct Reach {
    guest: Arc<GuestContext>,
    /// Limits the lines about it in the log.
    window: Mutex<Window>,
}

impl Reach {
    pub fn new(guest: Arc<GuestContext>) -> Arc<Self> {
        let window = Mutex::default();
        Arc::new(Self { guest, window })
    }

    /// May the guest make a socket of this kind, since it may connect one to something? If not, that is logged.
    pub fn may_make_socket(&self, scope: &Scope, kind: &str, example: &str) -> bool {
        let is_of_it = |outbound: &Outbound| outbound.scope == *scope;
        let is_granted = self.guest.config.allow_outbound.iter().any(is_of_it);
        if !is_granted {
            let message = format_args!("was refused a {kind} socket: allow-outbound = [{example:?}] would allow one");
            self.log(&message);
        }
        is_granted
    }

    /// A connection to this host, a name or an address.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn connect(&self, host: String, port: u16, transport: Transport) -> Result<Connected, Failure> {
        let told = host.clone();
        let ask = Ask::Connect { host, port, transport };
        let connected = match &self.guest.egress {
            Some(egress) => egress.connect(&self.guest.handler, ask, TIMEOUT).await,
            None => Err(without_egress()),
        };
        connected.inspect_err(|failure| self.report(&format_args!("connect to {told} port {port}"), failure))
    }

    /// The addresses of a name that the guest may connect to. An address is its own.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn look_up(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        if let Ok(ip) = name.parse() {
            return Ok(vec![ip]);
        }
        let found = match &self.guest.egress {
            Some(egress) => egress.resolve(&self.guest.handler, name.to_owned(), TIMEOUT).await,
            None => Err(without_egress()),
        };
        found.inspect_err(|failure| self.report(&format_args!("look up {}", name.escape_debug()), failure))
    }

    /// Logs what the guest was refused, and what the administrator can mend. Other failures are the guest's to handle.
    fn report(&self, what: &dyn Display, failure: &Failure) {
        match failure {
            Failure::Denied(why) => self.log(&format_args!("was refused to {what}: {why}")),
            Failure::DnsTimeout | Failure::Dns(_) | Failure::Internal(_) => {
                self.log(&format_args!("cannot {what}: {failure}"));
            }
            _ => {}
        }
    }

    fn log(&self, message: &dyn Display) {
        if self.guest.log_limit.allows(&mut lock(&self.window), Instant::now()) {
            self.guest.log(Level::Warning, message);
        }
    }
}

fn without_egress() -> Failure {
    Failure::Denied("its handler has no allow-outbound".to_owned())
}
