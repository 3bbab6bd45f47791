//! Maps sockets to handlers by name (`FileDescriptorName=`).

use super::exit_code::GuestExit;
use super::handler::Handler;
use crate::activation::{Socket, handler_name};
use crate::egress::Egress;
use crate::startup::Plan;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use wasm_sock_stats::Table;

/// The handlers of the sockets that were passed.
pub struct Handlers {
    by_name: HashMap<String, Arc<Handler>>,
    /// The exit code of their guests, for `--exit-with-guest`.
    pub guest_exit: Arc<GuestExit>,
    /// The way out of their guests.
    egress: Option<Arc<Egress>>,
}

impl Handlers {
    /// None yet, whose guests will have this way out.
    pub fn new(egress: Option<Arc<Egress>>) -> Self {
        let (by_name, guest_exit) = Default::default();
        Self {
            by_name,
            guest_exit,
            egress,
        }
    }

    /// The number of handlers that have a socket.
    pub fn count(&self) -> usize {
        self.by_name.len()
    }

    /// Their names.
    pub fn names(&self) -> BTreeSet<&str> {
        self.by_name.keys().map(String::as_str).collect()
    }

    /// The handler of a socket, by the socket's name, with the settings of `plan` and the counters in `stats`. Every socket has one; whether the
    /// handler has a module is found out when a client connects.
    pub fn of(&mut self, socket: &Socket, plan: &Plan, stats: Option<&Table>) -> Arc<Handler> {
        let name = handler_name(&socket.name);
        if let Some(handler) = self.by_name.get(name) {
            return handler.clone();
        }
        let (settings, files) = plan.settings(name);
        // The file of a single handler has one place, which is not for the host's own answers.
        let counted = stats.filter(|_| !plan.is_metrics(name));
        let stats = counted.map(|table| table.handler(name)).unwrap_or_default();
        let (settings, exit, egress) = (settings.into_owned(), self.guest_exit.clone(), self.egress.clone());
        let mut handler = Handler::new(name.to_owned(), settings, files, stats, exit, egress);
        handler.is_metrics = plan.is_metrics(name);
        let handler = Arc::new(handler);
        self.by_name.insert(name.to_owned(), handler.clone());
        handler
    }

    /// Gives all handlers the settings of `plan` (reload). Returns the names of those whose settings have changed.
    pub fn replace(&mut self, plan: &Plan) -> BTreeSet<&str> {
        let mut replaced = BTreeSet::new();
        for (name, handler) in &mut self.by_name {
            let (settings, files) = plan.settings(name);
            if let Some(successor) = handler.replace(settings.into_owned(), files, plan.is_metrics(name)) {
                *handler = successor;
                replaced.insert(name.as_str());
            }
        }
        replaced
    }
}
