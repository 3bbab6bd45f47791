//! The plan of the host: serve the passed sockets with a configuration, or reset connections because that is invalid.

use crate::config::{Config, HandlerConfig, Reload, WhenIdle, valid_handler_name};
use crate::module::Files;
use std::borrow::Cow;
use std::path::PathBuf;

/// The name of the socket at which the host itself answers, with the counters of all handlers.
pub const METRICS: &str = "metrics";

/// What the host does with connections.
pub enum Plan {
    /// Serve them.
    Serve {
        config: Box<Config>,
        /// The module of every socket, whatever its name (`--module`).
        module: Option<PathBuf>,
    },
    /// Reset them for a while, then exit: the configuration is invalid, or requires what the kernel does not provide.
    ///
    /// If the host exited at once, systemd would start it again for the pending client, until it gives up the sockets
    /// (`TriggerLimitBurst=`). If the host stayed, it would not notice that the configuration was corrected.
    TurnAway,
}

impl Plan {
    /// Is a reload for the next host (`reload = "hand-over"`)?
    pub fn hands_over(&self) -> bool {
        matches!(self, Self::Serve { config, .. } if config.host.reload == Reload::HandOver)
    }

    /// Is there a keeper of the sockets while no host runs (`when-idle = "park"`)? `None`: that is not known, because the
    /// configuration is invalid.
    pub fn parks(&self) -> Option<bool> {
        match self {
            Self::Serve { config, .. } => Some(config.host.when_idle == WhenIdle::Park),
            Self::TurnAway => None,
        }
    }

    /// Is it the socket at which the host itself answers? It has that name, and there is no module for it.
    pub fn is_metrics(&self, name: &str) -> bool {
        let Self::Serve { module: None, .. } = self else {
            return false;
        };
        if name != METRICS {
            return false;
        }
        match self.settings(name) {
            (settings, Ok(files)) => settings.module.is_none() && !files.are_there(),
            (_, Err(_)) => false,
        }
    }

    /// The settings of a handler, and the files of its module, or why it has none.
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
