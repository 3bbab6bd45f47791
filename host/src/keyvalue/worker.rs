//! The thread that changes an embedded store, and waits for the disk.
//!
//! What guests want to change while it waits for the disk is committed together, in one transaction: 64 guests at a
//! time take as long as one or two. When there is nothing to do for a while, the thread empties the log of the file,
//! so that the next host finds nothing to replay; then it ends.

use super::failure::Failure;
use crate::sync::lock;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use wasm_sock_store::{Change, Changed, Database, Patience, StoreError};

/// How long other processes are waited for.
const PATIENCE: Patience = Patience::Wait(Duration::from_secs(5));

/// After this long without work, the log is emptied, and the thread ends.
const QUIET: Duration = Duration::from_secs(1);

/// The most changes of one transaction, and about how many bytes: what is acknowledged waits for all of them.
const MOST_TOGETHER: usize = 256;
const MOST_BYTES: usize = 4 << 20;

/// How long the process waits at its end for logs to be emptied.
const MOST_AT_THE_END: Duration = Duration::from_secs(2);

/// The workers of this process, for its end.
static WORKERS: Mutex<Vec<Weak<Worker>>> = Mutex::new(Vec::new());

/// Changes of one file, in the order in which they came.
pub struct Worker {
    file: PathBuf,
    quota: u64,
    queue: Mutex<Queue>,
    /// Work was added, the process ends, or the thread has ended.
    changed: Condvar,
    /// The thread has the file open.
    is_open: AtomicBool,
}

#[derive(Default)]
struct Queue {
    work: VecDeque<Work>,
    has_thread: bool,
    is_ending: bool,
}

/// Gets the opened file, or why it cannot be opened.
type Reading = dyn FnOnce(Result<&Database, StoreError>) + Send;

enum Work {
    Change(Change, oneshot::Sender<Result<Changed, StoreError>>),
    /// What could not be done in a guest's thread without waiting.
    Read(Box<Reading>),
}

impl Worker {
    pub fn new(file: PathBuf, quota: u64) -> Arc<Self> {
        let (queue, changed) = (Mutex::default(), Condvar::new());
        let worker = Arc::new(Self {
            file,
            quota,
            queue,
            changed,
            is_open: AtomicBool::new(false),
        });
        lock(&WORKERS).push(Arc::downgrade(&worker));
        worker
    }

    /// Makes a change. It is on the disk when this returns.
    pub async fn change(self: &Arc<Self>, change: Change) -> Result<Changed, Failure> {
        let (answer, answered) = oneshot::channel();
        self.add(Work::Change(change, answer))?;
        Ok(answered.await.unwrap_or(Err(StoreError::Busy))?)
    }

    /// Reads where waiting is allowed. `read` gets the opened file, or why it cannot be opened.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Failure> {
        let (answer, answered) = oneshot::channel();
        let work = move |database: Result<&Database, StoreError>| {
            // An error means that the guest has ended meanwhile.
            let _ = answer.send(database.and_then(read));
        };
        self.add(Work::Read(Box::new(work)))?;
        Ok(answered.await.unwrap_or(Err(StoreError::Busy))?)
    }

    /// Is the file open? Then others open it without replaying the log.
    pub fn is_open(&self) -> bool {
        self.is_open.load(Relaxed)
    }

    fn add(self: &Arc<Self>, work: Work) -> Result<(), Failure> {
        let mut queue = lock(&self.queue);
        if !queue.has_thread {
            let worker = self.clone();
            let thread = thread::Builder::new().name("keyvalue".to_owned());
            let started = thread.spawn(move || worker.work());
            started.map_err(|error| Failure::Unavailable(format!("no thread for the store: {error}")))?;
            queue.has_thread = true;
        }
        queue.work.push_back(work);
        drop(queue);
        self.changed.notify_all();
        Ok(())
    }

    /// The thread: until there is nothing to do for a while.
    fn work(&self) {
        block_timer();
        let mut database = None;
        loop {
            let batch = self.wait();
            if !batch.is_empty() {
                database = self.perform(database, batch);
                self.is_open.store(database.is_some(), Relaxed);
                continue;
            }
            if let Some(database) = &database {
                // What cannot be moved now, as others are reading it, the next one will move.
                let _: Result<(), StoreError> = Database::tidy(database);
            }
            let mut queue = lock(&self.queue);
            if queue.work.is_empty() {
                self.is_open.store(false, Relaxed);
                queue.has_thread = false;
                drop(queue);
                self.changed.notify_all();
                return;
            }
        }
    }

    /// What to do next: some changes, or one thing to read. Empty: there was nothing for a while.
    fn wait(&self) -> Vec<Work> {
        let queue = lock(&self.queue);
        let is_idle = |queue: &mut Queue| queue.work.is_empty() && !queue.is_ending;
        let waited = self.changed.wait_timeout_while(queue, QUIET, is_idle);
        let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
        together(&mut queue.work)
    }

    /// Does the work with the file, and opens it first if it is not open. `None`: it has to be opened again, because an
    /// administrator may have replaced it.
    fn perform(&self, database: Option<Database>, batch: Vec<Work>) -> Option<Database> {
        let is_change = matches!(batch.first(), Some(Work::Change(..)));
        let opened = match database.filter(Database::is_in_place) {
            Some(database) => Ok(database),
            None if is_change => Database::open_or_make(&self.file, self.quota, PATIENCE),
            None => Database::open(&self.file, self.quota, PATIENCE),
        };
        match opened {
            Ok(mut database) => perform(&mut database, batch).then_some(database),
            Err(error) => {
                for work in batch {
                    work.fail(&error);
                }
                None
            }
        }
    }

    /// Has the thread empty the log and end, and waits for that until `deadline`.
    fn end(&self, deadline: Instant) {
        let mut queue = lock(&self.queue);
        queue.is_ending = true;
        self.changed.notify_all();
        let left = deadline.saturating_duration_since(Instant::now());
        drop(self.changed.wait_timeout_while(queue, left, |queue| queue.has_thread));
    }
}

impl Work {
    fn fail(self, error: &StoreError) {
        match self {
            // An error means that the guest has ended meanwhile.
            Self::Change(_, answer) => drop(answer.send(Err(error.clone()))),
            Self::Read(read) => read(Err(error.clone())),
        }
    }
}

/// Takes as many changes as are committed together, or one thing to read.
fn together(queue: &mut VecDeque<Work>) -> Vec<Work> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < MOST_TOGETHER && bytes < MOST_BYTES {
        match queue.pop_front() {
            Some(Work::Read(read)) if batch.is_empty() => return vec![Work::Read(read)],
            Some(Work::Change(change, answer)) => {
                bytes += change.size();
                batch.push(Work::Change(change, answer));
            }
            Some(read) => {
                queue.push_front(read);
                break;
            }
            None => break,
        }
    }
    batch
}

/// Does the work. Returns whether the file can still be used.
fn perform(database: &mut Database, batch: Vec<Work>) -> bool {
    let (mut changes, mut answers) = (Vec::new(), Vec::new());
    for work in batch {
        match work {
            Work::Read(read) => {
                read(Ok(database));
                return true;
            }
            Work::Change(change, answer) => {
                changes.push(change);
                answers.push(answer);
            }
        }
    }
    let results = database.commit(&changes);
    let is_usable = !results
        .iter()
        .any(|result| result.as_ref().is_err_and(StoreError::is_of_the_file));
    for (answer, result) in answers.into_iter().zip(results) {
        // An error means that the guest has ended meanwhile.
        let _ = answer.send(result);
    }
    is_usable
}

/// Empties the logs of the stores of this process, which is about to end.
pub fn finish() {
    let deadline = Instant::now() + MOST_AT_THE_END;
    let workers = std::mem::take(&mut *lock(&WORKERS));
    for worker in workers.iter().filter_map(Weak::upgrade) {
        worker.end(deadline);
    }
}

/// Keeps the timer of guests that compute (SIGALRM) away from this thread: it would interrupt fdatasync(2).
fn block_timer() {
    // SAFETY: sigemptyset initialises the set; the others read it.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGALRM);
        libc::pthread_sigmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
    }
}
