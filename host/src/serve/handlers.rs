//! Which handler a socket belongs to.

use super::Plan;
use crate::activation::{Socket, handler_name};
use crate::config::{HandlerConfig, valid_handler_name};
use crate::module::{Files, Handler};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// The handlers of the sockets that were passed.
pub struct Handlers<'a> {
    plan: &'a Plan,
    by_name: HashMap<String, Arc<Handler>>,
}

impl<'a> Handlers<'a> {
    pub fn new(plan: &'a Plan) -> Self {
        Self {
            plan,
            by_name: HashMap::new(),
        }
    }

    pub fn count(&self) -> usize {
        self.by_name.len()
    }

    /// The handler that a socket's name stands for. Every socket has one; whether there is a module
    /// for it shows when somebody connects.
    pub fn of(&mut self, socket: &Socket) -> Arc<Handler> {
        let name = handler_name(&socket.name);
        if let Some(handler) = self.by_name.get(name) {
            return handler.clone();
        }
        let (settings, files) = self.plan.settings(name);
        let handler = Arc::new(Handler::new(name.to_owned(), settings.into_owned(), files));
        self.by_name.insert(name.to_owned(), handler.clone());
        handler
    }
}

impl Plan {
    /// The settings of a handler, and where its module is looked for or why nowhere.
    pub fn settings(&self, name: &str) -> (Cow<'_, HandlerConfig>, Result<Files, String>) {
        let Plan::Serve { config, module } = self else {
            let why = "nothing can be served (see above): connections are reset, and the configuration is read again in a few seconds";
            return (Cow::default(), Err(why.to_owned()));
        };
        if let Some(file) = config.mistake_about(name).filter(|_| module.is_none()) {
            let why = format!(
                "it is not served: there is a mistake in {} (see above; it is read again soon after it has changed)",
                file.display()
            );
            return (Cow::default(), Err(why));
        }
        let settings = config.handler(name);
        let files = match module {
            Some(path) => Ok(Files::at(path)),
            None if valid_handler_name(name) => Ok(Files::of(name, &settings, &config.host.modules)),
            None => Err("the socket's name cannot be a handler's (set FileDescriptorName= in the .socket unit to letters, digits, `-`, `_` or `.`)".to_owned()),
        };
        (settings, files)
    }
}
