//! `wasm-sock-egress` for a run whose handler needs it.

use crate::CommandError;
use crate::activate::Activation;
use crate::egress::{VARIABLE, start};
use std::path::{Path, PathBuf};
use std::process::Child;
use wasm_sock_config::{Config, Environment};

/// It runs as long as this value lives.
pub struct Egress {
    child: Child,
    socket: PathBuf,
}

impl Egress {
    /// Starts it in `folder`, if the configuration has a handler that needs it.
    ///
    /// # Errors
    /// When it cannot be run, or does not listen.
    pub fn start(config: &Path, folder: &Path) -> Result<Option<Self>, CommandError> {
        let environment = Environment {
            user_manager: true,
            variable: &|_| None,
        };
        let loaded = Config::load(Some(config), &environment).map_err(CommandError::Configuration)?;
        if !loaded.handlers.values().any(|handler| handler.reaches_out()) {
            return Ok(None);
        }
        let socket = folder.join("egress");
        let child = start(Some(config), &socket)?;
        Ok(Some(Self { child, socket }))
    }

    /// Has a host find it.
    pub fn tell(egress: Option<&Self>, host: &mut Activation) {
        if let Some(egress) = egress {
            host.command().env(VARIABLE, &egress.socket);
        }
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
