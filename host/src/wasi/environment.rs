//! The context in which a guest runs: its handler, its client, and the arguments and environment variables that follow
//! from them.

use super::values::Values;
use crate::config::HandlerConfig;
use crate::egress::Egress;
use crate::http_client::Client;
use crate::journal::{self, About, ConnectionId, FieldWriter, Fields, Level, Line, Window, field};
use crate::keyvalue::Stores;
use crate::limits::{History, LogLimit};
use crate::net::Peer;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Instant;
use wasm_sock_stats::HandlerStats;

/// The handler and the client of a guest. Arguments and variables are formatted when the guest asks for them: most
/// guests never do.
#[derive(Clone)]
pub struct GuestContext {
    /// The name of its handler.
    pub handler: Arc<str>,
    pub config: Arc<HandlerConfig>,
    /// How much the guests of the handler may log.
    pub log_limit: Arc<LogLimit>,
    /// Whether guests of the handler have recently blocked their thread.
    pub history: Arc<History>,
    /// What the guests of the handler may ask for by name.
    pub values: Arc<Values>,
    /// Counts log lines that are dropped.
    pub stats: HandlerStats,
    /// The way out. `None`: nothing was granted that leads out.
    pub egress: Option<Arc<Egress>>,
    /// The HTTP client of the handler's guests. `None`: nothing was granted that they could call.
    pub http: Option<Arc<Client>>,
    /// The key-value stores that it may open. `None`: none was granted.
    pub stores: Option<Arc<Stores>>,
    /// The client; `None` when the instance serves several.
    pub peer: Option<Peer>,
    /// The connection, or the datagram; `None` when the instance serves several.
    pub connection: Option<ConnectionId>,
    /// Over HTTP: which request of the connection, counted from 1.
    pub request: Option<u32>,
}

impl GuestContext {
    /// Logs a line about the guest, with the handler's name and the client.
    pub fn log(&self, level: Level, message: impl Display) {
        journal::log_about(level, self.about(), message);
    }

    /// Logs a line that the guest has written to its standard error, without secrets.
    pub fn log_written(&self, line: &str) {
        struct Stream;
        impl Fields for Stream {
            fn write(&self, to: &mut dyn FieldWriter) {
                to.text(field::STREAM, &"stderr");
            }
        }
        journal::write(&Line {
            level: Level::Info,
            about: self.about(),
            message: format_args!("{}", self.values.hide(&self.config, line)),
            fields: &Stream,
        });
    }

    /// Logs that a guest has asked for a store that it was not granted, and what would grant it.
    pub fn warn_of_store(&self, name: &str) {
        let name = name.chars().take(80).collect::<String>();
        let message = format_args!(
            "the guest has no key-value store {name:?} (keyvalue = {{ {:?} = \"embedded\" }} would give it one)",
            if name.is_empty() { "default" } else { &name }
        );
        if self.log_limit.allows(&mut Window::default(), Instant::now()) {
            self.log(Level::Warning, message);
        }
    }

    fn about(&self) -> About<'_> {
        About {
            handler: Some(&self.handler),
            peer: self.peer.as_ref().map(|peer| peer as &dyn Display),
            connection: self.connection,
            request: self.request,
        }
    }

    /// The arguments; the first is the handler's name.
    pub fn arguments(&self) -> Vec<String> {
        let name = std::iter::once(self.handler.to_string());
        name.chain(self.config.args.iter().cloned()).collect()
    }

    /// The environment variables. A configured variable (`env`) comes after one of the same name that the host sets,
    /// and does not replace it.
    pub fn variables(&self) -> Vec<(String, String)> {
        let mut variables = vec![("WASM_SOCK_NAME".to_owned(), self.handler.to_string())];
        if let Some(peer) = &self.peer {
            let standard = peer.environment().into_iter();
            variables.extend(standard.map(|(name, value)| (name.to_owned(), value)));
        }

        variables.extend(self.config.env.iter().cloned());
        variables
    }
}
