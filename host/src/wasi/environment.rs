//! Whom a guest works for, and what it is told of that: its arguments and environment variables.

use crate::config::HandlerConfig;
use crate::journal::{self, Level};
use crate::limits::{History, LogLimit};
use crate::net::Peer;
use std::fmt::Display;
use std::sync::Arc;

/// Whom a guest works for. What it is told of that is put into words when it asks: most never do.
#[derive(Clone)]
pub struct GuestContext {
    /// The name of its handler.
    pub handler: Arc<str>,
    pub config: Arc<HandlerConfig>,
    /// How much the guests of the handler may log.
    pub log_limit: Arc<LogLimit>,
    /// How its guests have kept others waiting.
    pub history: Arc<History>,
    /// The other end; `None` when there are several.
    pub peer: Option<Peer>,
}

impl GuestContext {
    /// Writes a line about the guest.
    pub fn log(&self, level: Level, message: impl Display) {
        match &self.peer {
            Some(peer) => journal::log_connection(level, &self.handler, peer, message),
            None => journal::log_handler(level, &self.handler, message),
        }
    }

    /// The arguments; the first is the handler's name.
    pub fn arguments(&self) -> Vec<String> {
        let name = std::iter::once(self.handler.to_string());
        name.chain(self.config.args.iter().cloned()).collect()
    }

    /// The environment variables. Who configures one that is there already does not hide it.
    pub fn variables(&self) -> Vec<(String, String)> {
        let mut variables = vec![("WASM_SOCK_NAME".to_owned(), self.handler.to_string())];
        if let Some(peer) = &self.peer {
            let told = peer.environment().into_iter();
            variables.extend(told.map(|(name, value)| (name.to_owned(), value)));
        }
        variables.extend(self.config.env.iter().cloned());
        variables
    }
}
