//! The current program of a handler: loaded on first use, and reloaded when its file was replaced (hot reload).
//!
//! What happens when a file is replaced, by the time since its last change:
//!
//! ```text
//!   change          FRESH (0.5 s)                      TAKEOVER (5 s)
//!     |---------------|-----------------------------------|------------------------->
//!     the file is loaded at the next connection
//!     the file is invalid, and there is no former program:
//!       retried every UNFINISHED (50 ms)       | then the connection fails
//!     the file is invalid, and there is a former program:
//!       the former program is used; retried every UNFINISHED     | then connections fail
//!     (an unchanged file that failed is retried after RETRY, 1 s)
//! ```
//!
//! The files are checked (`stat(2)`) at most once in STAT_CACHE_TTL (1 ms).

use super::error::LoadError;
use super::files::{FRESH, Files, Stamp};
use super::load::{self, Compiled};
use crate::journal::{self, Level};
use crate::runtime::{Code, Engines, Program};
use crate::sync::lock;
use crate::trace::{self, Mark};
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{self, Arc};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, oneshot};
use tokio::time::sleep;

/// After this time a module that could not be loaded is tried again although its files are unchanged: the cause may
/// lie outside of them (permissions of a folder, the compiler).
const RETRY: Duration = Duration::from_secs(1);

/// How long a result of `stat(2)` is reused. Saves two system calls for each connection when connections come faster
/// than that.
const STAT_CACHE_TTL: Duration = Duration::from_millis(1);

/// Interval at which a file that is being written is checked again.
const UNFINISHED: Duration = Duration::from_millis(50);

/// How long after the last change of an invalid file its former content is used. `cp` over a module truncates it
/// first, and may then wait for a busy disk for more than a second.
const TAKEOVER: Duration = Duration::from_secs(5);

/// The program of one handler.
pub struct CurrentProgram {
    /// The handler's name, for the log.
    handler: Arc<str>,
    /// The paths of its module, or why there are none.
    files: Result<Files, String>,
    loaded: Mutex<Loaded>,
    /// The program, and until when its files are not checked.
    seen: sync::Mutex<Option<(Instant, Arc<Program>)>>,
    /// A module that could not be loaded is tried again at once, and the reason is logged again.
    report_again: AtomicBool,
}

/// The handler has no program to run; the reason was logged.
#[derive(Debug, PartialEq, Eq)]
pub struct Unavailable;

/// The last attempt to load the program: from which files, and its result.
#[derive(Default)]
struct Loaded {
    stamp: Option<Stamp>,
    outcome: Option<Result<Arc<Program>, Instant>>,
    /// The last reason that was logged: a broken module is reported once, and not for each connection.
    reported: String,
}

impl CurrentProgram {
    pub fn new(handler: Arc<str>, files: Result<Files, String>) -> Self {
        Self {
            handler,
            files,
            loaded: Mutex::default(),
            seen: sync::Mutex::default(),
            report_again: AtomicBool::new(false),
        }
    }

    /// The program of the same handler with other settings, from these files. The module is not loaded again if it is
    /// the same; instances of the former settings are not used.
    pub fn renewed(&self, files: Result<Files, String>) -> Self {
        let renewed = Self::new(self.handler.clone(), files);
        // While it is being loaded, it is loaded once more: the compiled module is in the cache then.
        let Some(kept) = self.loaded.try_lock().ok().filter(|_| self.is_of(&renewed.files)) else {
            return renewed;
        };
        let Some(Ok(program)) = &kept.outcome else {
            return renewed;
        };
        let loaded = Loaded {
            stamp: kept.stamp,
            outcome: Some(Ok(Program::renewed(program))),
            reported: String::new(),
        };
        Self {
            loaded: Mutex::new(loaded),
            ..renewed
        }
    }

    /// Is it loaded from these files?
    pub fn is_of(&self, files: &Result<Files, String>) -> bool {
        self.files == *files
    }

    /// Has the module tried again at the next connection, if it could not be loaded, and the reason logged again.
    pub fn report_again(&self) {
        self.report_again.store(true, Relaxed);
    }

    /// The program for a new connection: loaded the first time, and again when its file was replaced. Open
    /// connections keep the program that they began with.
    ///
    /// # Errors
    /// [`Unavailable`] when there is none. The reason is logged if it is a new one.
    pub async fn get(&self, engines: &Engines, compiled: Option<&Compiled>) -> Result<Arc<Program>, Unavailable> {
        if let Some(program) = self.recently_seen() {
            return Ok(program);
        }
        let mut kept = self.loaded.lock().await;
        // The task that held the lock may just have checked.
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
                Some(Err(failed)) if failed.elapsed() < RETRY && !self.report_again.load(Relaxed) => {
                    return Err(Unavailable);
                }
                _ => {}
            }
        }
        *self.seen() = None;
        // Boxed, because the futures would enlarge the task of every connection.
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

    /// Does it answer HTTP requests, as far as is known without loading it?
    pub fn is_known_as_http(&self) -> bool {
        self.recently_seen().is_some_and(|program| program.is_http())
    }

    /// The program, if its files need not be checked yet.
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

    /// Logs once why its module cannot serve this kind of socket.
    pub async fn report_unfit(&self, why: &str) {
        self.unavailable(&mut *self.loaded.lock().await, why);
    }

    fn unavailable(&self, kept: &mut Loaded, why: &str) -> Unavailable {
        if self.report_again.swap(false, Relaxed) || kept.reported != why {
            journal::log_handler(Level::Error, &self.handler, why);
            kept.reported = why.to_owned();
        }
        Unavailable
    }

    /// Loads the program, and retries while its file is invalid but was changed recently. Also returns the stamp of
    /// the files that were loaded.
    async fn load_settled(
        &self,
        files: &Files,
        mut stamp: Stamp,
        engines: &Engines,
        compiled: Option<&Compiled>,
    ) -> (Stamp, Result<Program, LoadError>) {
        loop {
            // Checked before the file is read, because compiling a half-written file may take long.
            let was_fresh = stamp.is_younger_than(FRESH);
            let loaded = self.load(files, stamp, engines, compiled).await;
            if !loaded.as_ref().is_err_and(LoadError::is_about_content) {
                return (stamp, loaded);
            }
            if was_fresh {
                sleep(UNFINISHED).await;
            }
            // Detects a write that began after the first stamp.
            let now = files.stamp();
            if !was_fresh && now == stamp {
                return (stamp, loaded);
            }
            stamp = now;
        }
    }

    /// Loads the program from its current files, without storing it, not even in the cache.
    ///
    /// # Errors
    /// Why it cannot be loaded, and what to do.
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
            // In this thread: it takes a fraction of a millisecond, less than starting a thread.
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
            // The receiver is gone when the host exits meanwhile.
            let _ = sender.send(loaded);
        };
        let thread = thread::Builder::new().name("compile".into());
        thread.spawn(compile).map_err(LoadError::NoThread)?;
        receiver.await.unwrap_or(Err(LoadError::Lost))
    }
}
