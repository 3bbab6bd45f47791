//! The settings of handlers, read again when a file has changed.

use crate::log;
use rustix::process::geteuid;
use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use wasm_sock_config::{Config, DROP_INS, Environment, HandlerConfig, valid_handler_name};
use wasm_sock_egress_protocol::Failure;

/// The most handlers whose settings are kept. With more, all are read again.
const MOST_KEPT: usize = 4096;

/// The settings of handlers.
pub struct Settings {
    config: Option<PathBuf>,
    main_file: Option<PathBuf>,
    kept: Mutex<HashMap<String, (Stamps, Arc<HandlerConfig>)>>,
}

/// What tells whether a file has changed: device, inode, size, times of change in nanoseconds.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

/// Of `wasm-sock.toml` and of the handler's own file.
type Stamps = [Stamp; 2];

impl Settings {
    /// `config` is the argument of `--config`.
    pub fn new(config: Option<PathBuf>) -> Self {
        let main_file = config.clone().or_else(|| environment().main_file());
        Self {
            config,
            main_file,
            kept: Mutex::default(),
        }
    }

    /// The settings of a handler, as they are now.
    ///
    /// # Errors
    /// [`Failure::Internal`] when there is a mistake in them.
    pub fn of(&self, handler: &str) -> Result<Arc<HandlerConfig>, Failure> {
        let stamps = self.stamps(handler);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, settings)) = kept.get(handler)
            && *of == stamps
        {
            return Ok(settings.clone());
        }
        let settings = Arc::new(self.read(handler)?);
        if kept.len() >= MOST_KEPT {
            kept.clear();
        }
        kept.insert(handler.to_owned(), (stamps, settings.clone()));
        Ok(settings)
    }

    fn read(&self, handler: &str) -> Result<HandlerConfig, Failure> {
        let read = Config::load_for(&BTreeSet::from([handler]), self.config.as_deref(), &environment());
        let (config, mistake) = match read {
            Ok((config, mut mistakes)) => {
                let mistake = mistakes.pop().map(|mistake| mistake.to_string());
                (Some(config), mistake)
            }
            Err(errors) => (None, Some(errors.to_string())),
        };
        match config {
            Some(config) if config.mistake_about(handler).is_none() => Ok(config.handler(handler).into_owned()),
            _ => {
                let mistake = mistake.unwrap_or_default();
                log::warning(format_args!("{handler} cannot reach out: {mistake}"));
                Err(Failure::Internal(
                    "there is a mistake in the configuration (`wasm-sock check`)".to_owned(),
                ))
            }
        }
    }

    fn stamps(&self, handler: &str) -> Stamps {
        let Some(main) = &self.main_file else {
            return [None, None];
        };
        let own = valid_handler_name(handler).then(|| main.with_file_name(DROP_INS).join(format!("{handler}.toml")));
        [stamp(main), own.as_deref().and_then(stamp)]
    }
}

fn environment() -> Environment<'static> {
    Environment::current(geteuid().is_root())
}

fn stamp(file: &Path) -> Stamp {
    let file = fs::metadata(file).ok()?;
    let changed = |seconds: i64, nanoseconds: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds);
    let (modified, changed) = (
        changed(file.mtime(), file.mtime_nsec()),
        changed(file.ctime(), file.ctime_nsec()),
    );
    Some((file.dev(), file.ino(), file.size(), modified, changed))
}
