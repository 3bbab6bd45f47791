//! Maps sockets to handlers by name (`FileDescriptorName=`).

use super::handler::Handler;
use crate::activation::{Socket, handler_name};
use crate::startup::Plan;
use std::collections::HashMap;
use std::sync::Arc;
use wasm_sock_stats::Table;

/// The handlers of the sockets that were passed.
pub struct Handlers<'a> {
    plan: &'a Plan,
    stats: Option<&'a Table>,
    by_name: HashMap<String, Arc<Handler>>,
}

impl<'a> Handlers<'a> {
    /// Handlers with the settings of `plan`; none exists yet.
    pub fn new(plan: &'a Plan, stats: Option<&'a Table>) -> Self {
        Self {
            plan,
            stats,
            by_name: HashMap::new(),
        }
    }

    /// The number of handlers that have a socket.
    pub fn count(&self) -> usize {
        self.by_name.len()
    }

    /// The handler of a socket, by the socket's name. Every socket has one; whether the handler has a module is found
    /// out when a client connects.
    pub fn of(&mut self, socket: &Socket) -> Arc<Handler> {
        let name = handler_name(&socket.name);
        if let Some(handler) = self.by_name.get(name) {
            return handler.clone();
        }
        let (settings, files) = self.plan.settings(name);
        let stats = self.stats.map(|table| table.handler(name)).unwrap_or_default();
        let mut handler = Handler::new(name.to_owned(), settings.into_owned(), files, stats);
        handler.is_metrics = self.plan.is_metrics(name);
        let handler = Arc::new(handler);
        self.by_name.insert(name.to_owned(), handler.clone());
        handler
    }
}
