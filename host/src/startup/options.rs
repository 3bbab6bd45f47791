//! The options of `wasm-sock host`, and what else is given from outside: its environment.

use super::plan::Plan;
use crate::config::{Config, Environment, WhenIdle};
use std::path::PathBuf;
use std::time::Duration;

/// The options of `wasm-sock host` that decide what is served.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `--module`: the module of every socket, whatever its name.
    pub module: Option<PathBuf>,
    /// `--handler`: the handler of every socket, whatever its name.
    pub handler: Option<String>,
    /// `--config`: the configuration file, in place of the default ones.
    pub config: Option<PathBuf>,
    /// `--idle-timeout`, which overrides the configuration; `Some(None)`: infinity.
    pub idle_timeout: Option<Option<Duration>>,
    /// `--when-idle`, which overrides the configuration.
    pub when_idle: Option<WhenIdle>,
}

impl Options {
    /// The plan to serve with a configuration, and with what these options override.
    pub fn plan(&self, mut config: Config) -> Plan {
        if let Some(idle_timeout) = self.idle_timeout {
            config.host.idle_timeout = idle_timeout;
        }
        if let Some(when_idle) = self.when_idle {
            config.host.when_idle = when_idle;
        }
        Plan::Serve {
            config: Box::new(config),
            module: self.module.clone(),
        }
    }
}

/// The environment that decides where the configuration is searched for.
pub fn environment() -> Environment<'static> {
    Environment::current(rustix::process::geteuid().is_root())
}
