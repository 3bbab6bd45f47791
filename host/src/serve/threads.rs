//! Scheduling of connections over threads: the main thread accepts and serves them; worker threads are started when
//! connections wait too long in its queue. A host with few connections never has a second thread.

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

/// A worker is used only when each thread before it has so many connections.
const MIN_CONNECTIONS: usize = 4;

/// Queueing delay on the main thread after which connections are given to workers. A connection on a worker costs a
/// tenth more, because that thread has to be woken.
const MAX_QUEUE_DELAY: Duration = Duration::from_millis(2);

/// How long new connections are given to workers after such a delay.
const OFFLOAD_TIME: Duration = Duration::from_millis(10);

/// The main thread and the workers.
#[derive(Default)]
pub struct Threads {
    /// Connections on the main thread.
    first: Arc<AtomicUsize>,
    /// When a connection last started after more than [`MAX_QUEUE_DELAY`].
    delayed: Arc<Mutex<Option<Instant>>>,
    others: Mutex<Others>,
}

#[derive(Default)]
struct Others {
    threads: Vec<Thread>,
    /// How many workers there may be; determined when the first is needed.
    most: Option<usize>,
}

struct Thread {
    connections: Arc<AtomicUsize>,
    handle: Handle,
    /// Ends the thread, and all connections that it serves.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl Threads {
    /// Runs `connection` to its end, on the main thread or a worker. Called on the main thread. A connection that
    /// `lasts` (HTTP) goes to a worker as soon as the main thread is busy: its later requests cannot be moved.
    pub fn spawn(&self, lasts: impl FnOnce() -> bool, connection: impl Future<Output = ()> + Send + 'static) {
        let is_busy = || self.first.load(Relaxed) >= MIN_CONNECTIONS;
        let is_delayed = || lock(&self.delayed).is_some_and(|began| began.elapsed() < OFFLOAD_TIME);
        if !(is_busy() && (is_delayed() || lasts())) {
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
        let (queued, delayed) = (Instant::now(), self.delayed.clone());
        let begin = move || {
            let now = Instant::now();
            if now.duration_since(queued) > MAX_QUEUE_DELAY {
                *lock(&delayed) = Some(now);
            }
        };
        tokio::spawn(counted(&self.first, begin, connection));
    }

    /// Runs a task on each worker, after all workers were started.
    pub fn spawn_in_others<F>(&self, task: impl Fn() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut others = lock(&self.others);
        while others.start_another() {}
        others.spawn_in_each(task);
    }

    /// Runs a task on each worker that is running.
    pub fn spawn_in_each<F>(&self, task: impl Fn() -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        lock(&self.others).spawn_in_each(task);
    }

    /// Ends all workers. The connections that they still serve are dropped, and so reset.
    pub fn stop(&self) {
        let threads = std::mem::take(&mut lock(&self.others).threads);
        let joins: Vec<JoinHandle<()>> = threads
            .into_iter()
            .map(|thread| {
                // The thread may have ended already.
                let _ = thread.stop.send(());
                thread.thread
            })
            .collect();
        for thread in joins {
            // A panic aborts the process.
            let _ = thread.join();
        }
    }
}

/// Counts `connection` until it is dropped. `begin` is called when it is first polled.
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
    /// Starts another worker if all are busy. If that fails (`TasksMax=` of the service), the existing threads do the
    /// work.
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

    /// Starts another worker if there is a processor for it. Returns whether it did.
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

/// Starts a worker: a thread with a tokio runtime of its own. `None`: the system refuses.
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
        // A message, or the end of the sender: either ends the thread.
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
