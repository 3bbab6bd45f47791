//! The embedded store of a handler in this process: connections for reading, and the worker that changes it.

use super::failure::Failure;
use super::worker::Worker;
use crate::journal::RateLimited;
use crate::sync::lock;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use wasm_sock_store::{Change, Changed, Database, Patience, StoreError};

/// The most connections for reading that are kept: as many as read at the same time, in their threads.
const MOST_READERS: usize = 4;

/// The longest log that is replayed in a guest's thread, in bytes: some 100 µs.
const SHORT_LOG: u64 = 128 << 10;

/// The embedded store of a handler, which is opened when a guest first uses it.
pub struct Embedded {
    handler: Arc<str>,
    /// Or why there is none.
    file: Result<PathBuf, String>,
    quota: u64,
    readers: Mutex<Vec<Database>>,
    worker: Option<Arc<Worker>>,
    problems: RateLimited,
}

impl Embedded {
    pub fn new(handler: Arc<str>, file: Result<PathBuf, String>, quota: u64) -> Arc<Self> {
        Arc::new(Self {
            handler,
            worker: file.as_ref().ok().map(|file| Worker::new(file.clone(), quota)),
            file,
            quota,
            readers: Mutex::default(),
            problems: RateLimited::default(),
        })
    }

    /// Reads, without waiting if that is possible. `nothing` is the result when nothing was stored yet.
    pub async fn read<T: Send + 'static>(
        &self,
        nothing: T,
        read: impl Fn(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        let (file, worker) = self.places()?;
        let result = match self.read_here(file, worker, &read) {
            Err(StoreError::Busy) => worker.read(read).await,
            result => result.map_err(Failure::from),
        };
        match result {
            Err(Failure::Store(StoreError::Missing)) => Ok(nothing),
            result => self.reported(result),
        }
    }

    /// Makes a change. It is on the disk when this returns.
    pub async fn change(&self, change: Change) -> Result<Changed, Failure> {
        let (_, worker) = self.places()?;
        self.reported(worker.change(change).await)
    }

    fn places(&self) -> Result<(&Path, &Arc<Worker>), Failure> {
        match (&self.file, &self.worker) {
            (Ok(file), Some(worker)) => Ok((file, worker)),
            (file, _) => {
                let why = file.as_ref().err().map_or("", String::as_str);
                self.problems.warn(&self.handler, format_args!("keyvalue: {why}"));
                Err(Failure::Unavailable("there is no place for it".to_owned()))
            }
        }
    }

    /// Reads in this thread. [`StoreError::Busy`] when that would take long, or has to wait.
    fn read_here<T>(
        &self,
        file: &Path,
        worker: &Worker,
        read: impl Fn(&Database) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = lock(&self.readers).pop();
        let database = match idle {
            Some(database) => database,
            None if has_long_log(file) && !worker.is_open() => return Err(StoreError::Busy),
            None => Database::open(file, self.quota, Patience::None)?,
        };
        let result = read(&database);
        let is_usable = !result.as_ref().is_err_and(StoreError::is_of_the_file);
        let mut readers = lock(&self.readers);
        if is_usable && readers.len() < MOST_READERS {
            readers.push(database);
        }
        result
    }

    /// Logs what an administrator has to know.
    fn reported<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        let Err(Failure::Store(error)) = &result else {
            return result;
        };
        let file = self.file.as_ref().map_or(Path::new(""), PathBuf::as_path).display();
        let warn = |what_to_do: &dyn std::fmt::Display| {
            let message = format_args!("keyvalue: {file}: {error} ({what_to_do})");
            self.problems.warn(&self.handler, message);
        };
        match error {
            StoreError::Damaged(_) | StoreError::Unknown(_) => warn(&format_args!(
                "it is kept as it is: save what can be read with `sqlite3 {file} .recover`, and move it away"
            )),
            StoreError::DiskFull => warn(&"make room; the guest gets an error meanwhile"),
            StoreError::Quota => warn(&"see keyvalue-quota, and `wasm-sock kv list`"),
            StoreError::Busy => warn(&"another process has locked it for 5 s"),
            StoreError::Failed(_) => warn(&"see the permissions of its folder, and the kernel's log"),
            _ => {}
        }
        result
    }
}

fn has_long_log(file: &Path) -> bool {
    let mut log = file.as_os_str().to_owned();
    log.push("-wal");
    fs::metadata(log).is_ok_and(|log| log.len() > SHORT_LOG)
}
