//! The program that a handler runs now: loaded when it is first asked for, and again when its file was replaced.
//!
//! Which of the files decides, over the time since one of them last changed:
//!
//! ```text
//!   change          FRESH (0.5 s)                      TAKEOVER (5 s)
//!     |---------------|-----------------------------------|------------------------->
//!     the file is read and loaded as soon as a connection comes
//!     it makes no sense, and there is no former program:
//!       tried again every UNFINISHED (50 ms)   | then the connection fails
//!     it makes no sense, and there is a former program:
//!       the former serves on; looked at again every UNFINISHED  | then connections fail
//!     (a failure is tried again after RETRY, 1 s, though nothing changed)
//! ```
//!
//! Where nothing changes, the files are looked at (`stat(2)`) at most once in STAT_CACHE_TTL (1 ms).

use super::error::LoadError;
use super::files::{FRESH, Files, Stamp};
use super::load::{self, Compiled};
use crate::journal::{self, Level};
use crate::runtime::{Code, Engines, Program};
use crate::sync::lock;
use crate::trace::{self, Mark};
use std::fs::File;
use std::sync::{self, Arc};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, oneshot};
use tokio::time::sleep;

/// How long a module that could not be loaded is not tried again while its files stay the same:
/// what was wrong may lie outside of them (a folder's permissions, the compiler).
const RETRY: Duration = Duration::from_secs(1);

/// How long a result of `stat(2)` is reused. It spares two system calls a connection where connections come faster
/// than that.
const STAT_CACHE_TTL: Duration = Duration::from_millis(1);

/// How long a file that is being written is left alone before it is looked at again.
const UNFINISHED: Duration = Duration::from_millis(50);

/// How long after the last change of a file that makes no sense its former content serves on. `cp` over
/// a module empties it first, and may then wait a second for a busy disk, and more.
const TAKEOVER: Duration = Duration::from_secs(5);

/// The program of one handler.
pub struct CurrentProgram {
    /// The handler's name, for the log.
    handler: Arc<str>,
    /// Where its module is looked for, or why nowhere.
    files: Result<Files, String>,
    loaded: Mutex<Loaded>,
    /// The program, and until when its files are not looked at.
    seen: sync::Mutex<Option<(Instant, Arc<Program>)>>,
}

/// The handler has no program to run; why was logged.
#[derive(Debug, PartialEq, Eq)]
pub struct Unavailable;

/// What the handler was loaded from, and what came of it.
#[derive(Default)]
struct Loaded {
    stamp: Option<Stamp>,
    outcome: Option<Result<Arc<Program>, Instant>>,
    /// The last reason that was logged: a broken module is reported once, not once a connection.
    reported: String,
}

impl CurrentProgram {
    pub fn new(handler: Arc<str>, files: Result<Files, String>) -> Self {
        Self {
            handler,
            files,
            loaded: Mutex::default(),
            seen: sync::Mutex::default(),
        }
    }

    /// The program to run for a new connection: loaded the first time, and again when its file was
    /// replaced. Connections that run keep the program they began with.
    ///
    /// # Errors
    /// [`Unavailable`] when there is none. The reason goes to the log when it is a new one.
    pub async fn get(&self, engines: &Engines, compiled: Option<&Compiled>) -> Result<Arc<Program>, Unavailable> {
        if let Some(program) = self.recently_seen() {
            return Ok(program);
        }
        let mut kept = self.loaded.lock().await;
        // The task that had the lock may just have looked.
        if let Some(program) = self.recently_seen() {
            return Ok(program);
        }
        let files = match &self.files {
            Ok(files) => files,
            Err(why) => return Err(self.unavailable(&mut kept, why)),
        };
        let stamp = files.stamp();
        if kept.stamp == Some(stamp) {
            match &kept.outcome {
                Some(Ok(program)) => return Ok(self.keep_for(STAT_CACHE_TTL, program.clone())),
                Some(Err(failed)) if failed.elapsed() < RETRY => return Err(Unavailable),
                _ => {}
            }
        }
        *self.seen() = None;
        // Boxed, because they would be part of every connection's task.
        let (stamp, loaded) = match &kept.outcome {
            Some(Ok(former)) => match Box::pin(self.load(files, stamp, engines, compiled)).await {
                Err(error) if error.is_about_content() && files.stamp().is_younger_than(TAKEOVER) => {
                    return Ok(self.keep_for(UNFINISHED, former.clone()));
                }
                loaded => (stamp, loaded),
            },
            _ => Box::pin(self.load_settled(files, stamp, engines, compiled)).await,
        };
        kept.stamp = Some(stamp);
        match loaded {
            Ok(program) => {
                let program = Arc::new(program);
                kept.outcome = Some(Ok(program.clone()));
                kept.reported.clear();
                Ok(program)
            }
            Err(error) => {
                kept.outcome = Some(Err(Instant::now()));
                Err(self.unavailable(&mut kept, &error.to_string()))
            }
        }
    }

    /// Does it answer HTTP requests, as far as is known without looking?
    pub fn is_known_as_http(&self) -> bool {
        self.recently_seen().is_some_and(|program| program.is_http())
    }

    /// The program whose files need not be looked at yet.
    fn recently_seen(&self) -> Option<Arc<Program>> {
        let seen = self.seen();
        let (until, program) = seen.as_ref()?;
        (Instant::now() < *until).then(|| program.clone())
    }

    fn keep_for(&self, time: Duration, program: Arc<Program>) -> Arc<Program> {
        *self.seen() = Some((Instant::now() + time, program.clone()));
        program
    }

    fn seen(&self) -> sync::MutexGuard<'_, Option<(Instant, Arc<Program>)>> {
        lock(&self.seen)
    }

    /// Logs why its module cannot serve what has come, once.
    pub async fn report_unfit(&self, why: &str) {
        self.unavailable(&mut *self.loaded.lock().await, why);
    }

    fn unavailable(&self, kept: &mut Loaded, why: &str) -> Unavailable {
        if kept.reported != why {
            journal::log_handler(Level::Error, &self.handler, why);
            kept.reported = why.to_owned();
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
                    journal::log_handler(Level::Warning, &self.handler, message);
                }
                result => return result,
            }
        } else if stamp.has_both() {
            let (cwasm, wasm) = (files.cwasm.display(), files.wasm.display());
            let message =
                format!("{cwasm} is older than {wasm}; using the latter (`wasm-sock compile {wasm}` makes it anew)");
            journal::log_handler(Level::Warning, &self.handler, message);
        } else if !stamp.has_wasm() {
            return Err(LoadError::Missing(files.clone()));
        }
        let (engines, compiled) = (engines.clone(), compiled.cloned());
        let (name, path) = (self.handler.clone(), files.wasm.clone());
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
