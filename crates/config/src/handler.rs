//! A handler's settings.

use std::path::PathBuf;

use super::{Http, Limits, Location, Outbound};

/// `[handler.NAME]`: a handler's guest and settings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandlerConfig {
    /// The module's absolute path. `None`: `NAME.cwasm` or `NAME.wasm` in [`HostConfig::modules`].
    pub module: Option<PathBuf>,
    /// The guest's arguments from `argv[1]` on; `argv[0]` is the handler's name.
    pub args: Vec<String>,
    /// The guest's environment, sorted by name.
    pub env: Vec<(String, String)>,
    /// The folders the guest may open. Nothing else on the file system is visible to it.
    pub dirs: Vec<DirGrant>,
    /// The destinations that the guest may connect to. Empty: none.
    pub allow_outbound: Vec<Outbound>,
    /// The defaults, with what this handler overrides.
    pub limits: Limits,
    /// As [`Config::http`], with what this handler overrides.
    pub http: Http,
    /// Where the handler is configured, for messages. `None`: nowhere, it runs with the defaults.
    pub location: Option<Location>,
}

impl HandlerConfig {
    /// Descriptors that a connection takes: its own, and one for each folder.
    pub fn descriptors(&self) -> usize {
        1 + self.dirs.len()
    }
}

/// A folder of the host that a guest may open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirGrant {
    /// Absolute path on the host. Not checked here: it need not exist yet.
    pub host: PathBuf,
    /// The name the guest knows it by: an absolute path, a relative one, or `.`.
    pub guest: String,
    pub access: Access,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Access {
    #[default]
    ReadOnly,
    ReadWrite,
}
