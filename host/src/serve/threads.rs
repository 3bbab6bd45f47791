//! The threads that connections are served in: the first, which accepts them, and others while there
//! are many of them. A host that sleeps most of the time never has a second one.

use crate::journal;
use crate::libc_overrides::heap;
use crate::sync::lock;
use std::future::Future;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Connections that a thread has before another is started.
const MIN_CONNECTIONS: usize = 4;

/// How long a connection waits for its turn in the first thread before others help. One that another thread
/// serves costs a tenth more, as that must be told of it.
const MAX_QUEUE_DELAY: Duration = Duration::from_millis(2);

/// How long they help when one has waited.
const HELP_TIME: Duration = Duration::from_millis(10);

/// Where connections are served.
#[derive(Default)]
pub struct Threads {
    /// Connections in the first thread.
    first: Arc<AtomicUsize>,
    /// When one of them last began after it had waited for long.
    waited: Arc<Mutex<Option<Instant>>>,
    others: Mutex<Others>,
}

#[derive(Default)]
struct Others {
    threads: Vec<Thread>,
    /// How many there may be; not asked before there is a crowd.
    most: Option<usize>,
}

struct Thread {
    connections: Arc<AtomicUsize>,
    handle: Handle,
    /// Ends it, and all that it serves.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Threads {
    /// Runs `connection` to its end. Called in the first thread. One that `lasts` may have a lot to do when
    /// it is too late to give it to another thread.
    pub fn spawn(&self, lasts: impl FnOnce() -> bool, connection: impl Future<Output = ()> + Send + 'static) {
        let is_busy = || self.first.load(Relaxed) >= MIN_CONNECTIONS;
        let needs_help = || lock(&self.waited).is_some_and(|began| began.elapsed() < HELP_TIME);
        if !(is_busy() && (needs_help() || lasts())) {
            return self.spawn_here(connection);
        }
        let mut others = lock(&self.others);
        others.grow();
        let least = others
            .threads
            .iter()
            .min_by_key(|thread| thread.connections.load(Relaxed))
            .filter(|thread| thread.connections.load(Relaxed) < self.first.load(Relaxed));
        match least {
            Some(thread) => {
                let connection = counted(&thread.connections, || (), connection);
                thread.handle.spawn(connection);
            }
            None => self.spawn_here(connection),
        }
    }

    fn spawn_here(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let (came, waited) = (Instant::now(), self.waited.clone());
        let begin = move || {
            let now = Instant::now();
            if now.duration_since(came) > MAX_QUEUE_DELAY {
                *lock(&waited) = Some(now);
            }
        };
        tokio::spawn(counted(&self.first, begin, connection));
    }

    /// Runs a task in each thread but the first, all of which are started.
    pub fn spawn_in_others<F>(&self, task: impl Fn() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut others = lock(&self.others);
        while others.start_another() {}
        others.spawn_in_each(task);
    }

    /// Runs a task in each thread but the first that there is.
    pub fn spawn_in_each<F>(&self, task: impl Fn() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        lock(&self.others).spawn_in_each(task);
    }

    /// Ends all threads but the first. What they still serve is dropped, as if it were here.
    pub fn stop(&self) {
        let threads = std::mem::take(&mut lock(&self.others).threads);
        let joins: Vec<JoinHandle<()>> = threads
            .into_iter()
            .map(|thread| {
                // It may be gone already.
                let _ = thread.stop.send(());
                thread.thread
            })
            .collect();
        for thread in joins {
            // It aborts the process when it panics.
            let _ = thread.join();
        }
    }
}

/// Counts `connection` as long as it lives. `begin` is called when it has its first turn.
fn counted(
    connections: &Arc<AtomicUsize>,
    begin: impl FnOnce() + Send + 'static,
    connection: impl Future<Output = ()> + Send + 'static,
) -> impl Future<Output = ()> + Send + 'static {
    struct Counter(Arc<AtomicUsize>);
    impl Drop for Counter {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Relaxed);
        }
    }
    connections.fetch_add(1, Relaxed);
    let counted = Counter(connections.clone());
    async move {
        begin();
        connection.await;
        drop(counted);
    }
}

impl Others {
    /// Starts another thread if all have a crowd. Where none can be had (a limit of the service), those
    /// that are there do the work.
    fn grow(&mut self) {
        let busy = |thread: &Thread| thread.connections.load(Relaxed) >= MIN_CONNECTIONS;
        if self.threads.iter().all(busy) {
            self.start_another();
        }
    }

    fn spawn_in_each<F>(&self, task: impl Fn() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        for thread in &self.threads {
            thread.handle.spawn(task());
        }
    }

    /// Starts another thread if there is a processor for it; tells whether it did.
    fn start_another(&mut self) -> bool {
        let most = *self.most.get_or_insert_with(|| {
            let processors = thread::available_parallelism();
            processors.map_or(0, |processors| processors.get() - 1)
        });
        if self.threads.len() >= most {
            return false;
        }
        let Some(thread) = start() else {
            self.most = Some(self.threads.len());
            return false;
        };
        self.threads.push(thread);
        true
    }
}

fn start() -> Option<Thread> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_park(journal::flush)
        .build()
        .ok()?;
    let handle = runtime.handle().clone();
    let (stop, stopped) = oneshot::channel();
    let serve = move || {
        heap::keep_blocks();
        // Told to, or forgotten: both are the end.
        let _ = runtime.block_on(stopped);
        runtime.shutdown_background();
    };
    let thread = thread::Builder::new().name("connections".into());
    Some(Thread {
        connections: Arc::default(),
        handle,
        stop,
        thread: thread.spawn(serve).ok()?,
    })
}
