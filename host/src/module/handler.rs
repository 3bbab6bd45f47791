//! A handler: a name with its settings, and its program once somebody asked for it.

use super::files::{FRESH, Files, Stamp};
use super::load::{self, Compiled, LoadError};
use super::places::Places;
use super::sources::Sources;
use crate::config::HandlerConfig;
use crate::journal::{self, Level, Seldom};
use crate::limits::{History, LogLimit};
use crate::net::Peer;
use crate::runtime::{Code, Engines, Program};
use crate::trace::{self, Mark};
use crate::wasi::Who;
use std::fs::File;
use std::sync::{self, Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Semaphore, oneshot};
use tokio::time::sleep;

/// How long a module that could not be loaded is not tried again while its files stay the same:
/// what was wrong may lie outside of them (a folder's permissions, the compiler).
const RETRY: Duration = Duration::from_secs(1);

/// How long what was seen of the files holds. It spares the two system calls a connection only where
/// connections come faster than that.
const GLANCE: Duration = Duration::from_millis(1);

/// How long a file that is being written is left alone before it is looked at again.
const UNFINISHED: Duration = Duration::from_millis(50);

/// How long after the last change of a file that makes no sense its former content serves on. `cp` over
/// a module empties it first, and may then wait a second for a busy disk, and more.
const TAKEOVER: Duration = Duration::from_secs(5);

/// A name with its guest and settings.
pub struct Handler {
    pub name: Arc<str>,
    pub config: Arc<HandlerConfig>,
    /// One for each connection it may have (`max-connections`).
    pub places: Places,
    /// Tells of clients that wait because all are taken.
    pub crowd: Seldom,
    /// One permit for each HTTP request that it may have at a time: as many, though with HTTP/2 a
    /// connection has several.
    pub requests: Arc<Semaphore>,
    /// How many of them come from where (`max-connections-per-source`).
    pub sources: Arc<Sources>,
    /// The same of its requests.
    pub request_sources: Arc<Sources>,
    /// How much its guests may log (`max-log`).
    log: Arc<LogLimit>,
    /// How its guests have kept others waiting.
    history: Arc<History>,
    /// Tells of datagrams that were larger than `max-datagram`.
    pub too_large: Seldom,
    /// Where its module is looked for, or why nowhere.
    files: Result<Files, String>,
    slot: Mutex<Slot>,
    /// The program, and until when its files are not looked at.
    seen: sync::Mutex<Option<(Instant, Arc<Program>)>>,
}

/// The handler has no program to run; why was logged.
#[derive(Debug, PartialEq, Eq)]
pub struct Unavailable;

/// What the handler was loaded from, and what came of it.
#[derive(Default)]
struct Slot {
    stamp: Option<Stamp>,
    outcome: Option<Result<Arc<Program>, Instant>>,
    /// The last reason that was logged: a broken module is reported once, not once a connection.
    reported: String,
}

impl Handler {
    pub fn new(name: String, config: HandlerConfig, files: Result<Files, String>) -> Self {
        let limits = config.limits;
        let sources = || Sources::new(limits.max_connections_per_source, limits.max_connections);
        Self {
            name: name.into(),
            places: Places::new(limits.max_connections as usize),
            crowd: Seldom::default(),
            requests: Arc::new(Semaphore::new(limits.max_connections as usize)),
            sources: sources(),
            request_sources: sources(),
            log: LogLimit::new(limits.max_log),
            history: Arc::default(),
            too_large: Seldom::default(),
            config: Arc::new(config),
            files,
            slot: Mutex::default(),
            seen: sync::Mutex::default(),
        }
    }

    /// Whom a guest of this handler works for; without a `peer`, for several.
    pub fn who(&self, peer: Option<Peer>) -> Arc<Who> {
        Arc::new(Who {
            handler: self.name.clone(),
            config: self.config.clone(),
            log_limit: self.log.clone(),
            history: self.history.clone(),
            peer,
        })
    }

    /// The program to run for a new connection: loaded the first time, and again when its file was
    /// replaced. Connections that run keep the program they began with.
    ///
    /// # Errors
    /// [`Unavailable`] when there is none. The reason goes to the log when it is a new one.
    pub async fn program(&self, engines: &Engines, compiled: Option<&Compiled>) -> Result<Arc<Program>, Unavailable> {
        if let Some(program) = self.glanced() {
            return Ok(program);
        }
        let mut slot = self.slot.lock().await;
        // Whoever had the slot may just have looked.
        if let Some(program) = self.glanced() {
            return Ok(program);
        }
        let files = match &self.files {
            Ok(files) => files,
            Err(why) => return Err(self.unavailable(&mut slot, why)),
        };
        let stamp = files.stamp();
        if slot.stamp == Some(stamp) {
            match &slot.outcome {
                Some(Ok(program)) => return Ok(self.keep_for(GLANCE, program.clone())),
                Some(Err(failed)) if failed.elapsed() < RETRY => return Err(Unavailable),
                _ => {}
            }
        }
        *self.seen() = None;
        // Boxed, because they would be part of every connection's task.
        let (stamp, loaded) = match &slot.outcome {
            Some(Ok(former)) => match Box::pin(self.load(files, stamp, engines, compiled)).await {
                Err(error) if error.is_about_content() && files.stamp().is_younger_than(TAKEOVER) => {
                    return Ok(self.keep_for(UNFINISHED, former.clone()));
                }
                loaded => (stamp, loaded),
            },
            _ => Box::pin(self.load_settled(files, stamp, engines, compiled)).await,
        };
        slot.stamp = Some(stamp);
        match loaded {
            Ok(program) => {
                let program = Arc::new(program);
                slot.outcome = Some(Ok(program.clone()));
                slot.reported.clear();
                Ok(program)
            }
            Err(error) => {
                slot.outcome = Some(Err(Instant::now()));
                Err(self.unavailable(&mut slot, &error.to_string()))
            }
        }
    }

    /// Does it answer HTTP requests, as far as is known without looking?
    pub fn is_known_as_http(&self) -> bool {
        self.glanced().is_some_and(|program| program.is_http())
    }

    /// The program whose files need not be looked at yet.
    fn glanced(&self) -> Option<Arc<Program>> {
        let seen = self.seen();
        let (until, program) = seen.as_ref()?;
        (Instant::now() < *until).then(|| program.clone())
    }

    fn keep_for(&self, time: Duration, program: Arc<Program>) -> Arc<Program> {
        *self.seen() = Some((Instant::now() + time, program.clone()));
        program
    }

    fn seen(&self) -> sync::MutexGuard<'_, Option<(Instant, Arc<Program>)>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Logs why its module cannot serve what has come, once.
    pub async fn report_unfit(&self, why: &str) {
        self.unavailable(&mut *self.slot.lock().await, why);
    }

    fn unavailable(&self, slot: &mut Slot, why: &str) -> Unavailable {
        if slot.reported != why {
            journal::log_handler(Level::Error, &self.name, why);
            slot.reported = why.to_owned();
        }
        Unavailable
    }

    /// Loads the program, and again while its file makes no sense but is just being changed. Also
    /// returns what the files were when it was loaded.
    async fn load_settled(
        &self,
        files: &Files,
        mut stamp: Stamp,
        engines: &Engines,
        compiled: Option<&Compiled>,
    ) -> (Stamp, Result<Program, LoadError>) {
        loop {
            // Asked before it is read: compiling what is half written may take its time.
            let was_fresh = stamp.is_younger_than(FRESH);
            let loaded = self.load(files, stamp, engines, compiled).await;
            if !loaded.as_ref().is_err_and(LoadError::is_about_content) {
                return (stamp, loaded);
            }
            if was_fresh {
                sleep(UNFINISHED).await;
            }
            // Who began to write it after it was looked at shows now.
            let now = files.stamp();
            if !was_fresh && now == stamp {
                return (stamp, loaded);
            }
            stamp = now;
        }
    }

    /// Loads the program as it lies on disk now, and keeps nothing of it, not even in the cache.
    ///
    /// # Errors
    /// What is wrong with the module, and what to do.
    pub async fn try_load(&self, engines: &Engines) -> Result<Program, LoadError> {
        let files = self.files.as_ref().map_err(|why| LoadError::NoFile(why.clone()))?;
        self.load(files, files.stamp(), engines, None).await
    }

    async fn load(
        &self,
        files: &Files,
        stamp: Stamp,
        engines: &Engines,
        compiled: Option<&Compiled>,
    ) -> Result<Program, LoadError> {
        let (code, artifact) = self.code(files, stamp, engines, compiled).await?;
        trace::pass(Mark::Load);
        let program = Program::link(&code, artifact).map_err(|reason| LoadError::NotLinked {
            path: files.wasm.clone(),
            reason,
        })?;
        trace::pass(Mark::Link);
        Ok(program)
    }

    async fn code(
        &self,
        files: &Files,
        stamp: Stamp,
        engines: &Engines,
        compiled: Option<&Compiled>,
    ) -> Result<(Code, File), LoadError> {
        if stamp.prefers_cwasm() {
            // In place: it takes a fraction of a millisecond, less than a thread for it would.
            let cache = compiled.and_then(|compiled| compiled.cache.as_ref());
            match load::artifact(engines, &files.cwasm, cache) {
                Err(error) if stamp.has_wasm() => {
                    let message = format!("{error}; using {} instead", files.wasm.display());
                    journal::log_handler(Level::Warning, &self.name, message);
                }
                result => return result,
            }
        } else if stamp.has_both() {
            let (cwasm, wasm) = (files.cwasm.display(), files.wasm.display());
            let message =
                format!("{cwasm} is older than {wasm}; using the latter (`wasm-sock compile {wasm}` makes it anew)");
            journal::log_handler(Level::Warning, &self.name, message);
        } else if !stamp.has_wasm() {
            return Err(LoadError::Missing(files.clone()));
        }
        let (engines, compiled) = (engines.clone(), compiled.cloned());
        let (name, path) = (self.name.clone(), files.wasm.clone());
        let (sender, receiver) = oneshot::channel();
        let compile = move || {
            let warn = |message| journal::log_handler(Level::Warning, &name, message);
            let loaded = match compiled {
                Some(compiled) => load::compiled(&engines, &path, &name, &compiled, &warn),
                None => load::source(&engines, &path),
            };
            // Nobody waits any more when the host leaves meanwhile.
            let _ = sender.send(loaded);
        };
        let thread = thread::Builder::new().name("compile".into());
        thread.spawn(compile).map_err(LoadError::NoThread)?;
        receiver.await.unwrap_or(Err(LoadError::Lost))
    }
}
