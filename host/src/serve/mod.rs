//! The server: accept loops, per-connection tasks, shutdown.

mod accept;
mod admission;
mod connection;
mod datagram;
mod handler;
mod handlers;
mod http;
mod metrics;
mod record;
mod shared;
mod stream;
mod threads;

use crate::activation::{self, Kind, Passed, Socket};
use crate::config::{HostConfig, RESERVED_DESCRIPTORS};
use crate::event_loop;
use crate::journal::{self, Level};
use crate::libc_overrides::heap;
use crate::lifecycle::{self, Activity, Signals};
use crate::limits;
use crate::module::{Compiled, FileStamp};
use crate::runtime::{self, Engines};
use crate::sandbox;
use crate::startup::Plan;
use crate::trace::{self, Mark};
use rustix::process::{Resource, getrlimit};
use sd_notify::NotifyState;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use std::{future, io};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use wasm_sock_stats::Table;

use accept::Listener;
use admission::slots::ConnectionSlots;
use datagram::DatagramQueue;
use handler::Handler;
use handlers::Handlers;
use shared::Shared;
use threads::Threads;

/// The most events of one `epoll_wait(2)`. The buffer is allocated at the start: tokio's default of 1,024 takes three
/// pages, which costs 2 µs.
const MAX_EVENTS: usize = 128;

/// How long connections are reset before the host exits and systemd starts one that reads the configuration again; also
/// how often configuration files with mistakes are checked for changes.
const RECHECK_INTERVAL: Duration = Duration::from_secs(5);

/// Serves the sockets until the host is idle or gets a signal, then drains.
///
/// # Errors
/// When the process cannot serve at all (no event loop, no engine).
pub fn serve(passed: Passed, plan: &Plan, compiled: Compiled, stats: Option<Table>) -> io::Result<()> {
    heap::keep_blocks();
    journal::buffer();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_io_events_per_tick(MAX_EVENTS)
        // Before it waits, so that the log is up to date while the host is idle.
        .on_thread_park(journal::flush)
        .build()?;
    let settings = match plan {
        Plan::Serve { config, .. } => &config.host,
        Plan::TurnAway => &HostConfig::default(),
    };
    let limit = getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |limit| limit as usize);
    limits::limit_memory(settings.max_memory.unwrap_or_else(limits::machine_memory));
    let taken = passed.sockets.len() + RESERVED_DESCRIPTORS;
    let descriptors = limit.saturating_sub(taken).clamp(1, Semaphore::MAX_PERMITS);
    let shared = Arc::new(Shared {
        engines: Engines::new(settings.stack).map_err(io::Error::other)?,
        compiled,
        activity: Activity::new(),
        stats,
        threads: Threads::default(),
        slots: ConnectionSlots::new(settings.max_connections.map_or(usize::MAX, |most| most as usize)),
        descriptors: Arc::new(Semaphore::new(descriptors)),
        descriptor_limit: descriptors,
    });
    trace::pass(Mark::Engine);
    let served = runtime.block_on(run(&shared, passed, plan));
    // What is left are guests that did not end within the drain timeout, and threads that wait for a file system.
    runtime::stop_turns();
    shared.threads.stop();
    runtime.shutdown_background();
    if let Some(stats) = &shared.stats {
        stats.leave();
    }
    journal::flush();
    served
}

/// Serves the sockets: those with pending clients first.
async fn run(shared: &Arc<Shared>, passed: Passed, plan: &Plan) -> io::Result<()> {
    let mut handlers = Handlers::new(plan, shared.stats.as_ref());
    let mut listening = JoinSet::new();
    // Pending clients are served first; registering a thousand other sockets would delay them.
    let (first, later): (Vec<_>, Vec<_>) = passed.sockets.into_iter().partition(|socket| socket.ready);
    count_activations(&mut handlers, &first);
    for socket in first {
        listen(shared, &mut handlers, &mut listening, socket);
    }
    tokio::task::yield_now().await;
    // Signals that arrived meanwhile are blocked, and so still pending.
    let signals = Signals::new()?;
    for socket in later {
        listen(shared, &mut handlers, &mut listening, socket);
    }
    for (name, error) in passed.not_open {
        report_unserved(&name, error);
    }
    lifecycle::notify(&[NotifyState::Ready]);
    let mut reports = JoinSet::new();
    reports.spawn(lifecycle::report_status(shared.activity.clone(), handlers.count()));
    reports.spawn(lifecycle::answer_watchdog());
    reports.spawn(journal::retry());
    reports.spawn(give_back(shared.clone()));
    until_done(shared, &signals, listening, plan).await;
    Ok(())
}

/// Counts the start for the handlers whose clients it is for.
fn count_activations(handlers: &mut Handlers<'_>, ready: &[Socket]) {
    let mut woken: Vec<Arc<Handler>> = Vec::new();
    for socket in ready {
        let handler = handlers.of(socket);
        if !woken.iter().any(|known| Arc::ptr_eq(known, &handler)) {
            handler.stats.activated();
            woken.push(handler);
        }
    }
}

/// Returns unused memory of pools and heap to the kernel, each time after many connections have ended.
async fn give_back(shared: Arc<Shared>) {
    loop {
        shared.engines.give_back_pools().await;
        shared.threads.spawn_in_each(async || heap::give_back());
        heap::give_back();
    }
}

/// Serves until there is a reason to exit (idle timeout, signal, changed files); then drains.
async fn until_done(shared: &Shared, signals: &Signals, mut listening: JoinSet<()>, plan: &Plan) {
    let idle = async {
        match plan {
            Plan::TurnAway => sleep(RECHECK_INTERVAL).await,
            Plan::Serve { config, .. } => match config.host.idle_timeout {
                Some(timeout) => shared.activity.idle(timeout).await,
                None => future::pending().await,
            },
        }
    };
    // Not at once: a cause that persists would make systemd start the host again and again.
    let earliest = Instant::now() + RECHECK_INTERVAL;
    let outdated = async {
        sandbox::outdated().await;
        sleep_until(earliest).await;
    };
    let nothing_left = async {
        match listening.is_empty() {
            // All sockets were connections that the caller accepted (Accept=yes, inetd): exit after the last of them.
            true => shared.activity.quiet().await,
            false => future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = signals.ending() => {}
        () = idle => {}
        () = nothing_left => {}
        () = outdated => {}
        () = mistakes_changed(plan) => {}
    }
    lifecycle::notify(&[NotifyState::Stopping]);
    listening.abort_all();
    shared.activity.close();
    drain(shared, signals, plan).await;
}

/// Waits until one of the configuration files with mistakes has changed.
async fn mistakes_changed(plan: &Plan) {
    let stamps = || -> Vec<_> {
        let Plan::Serve { config, .. } = plan else {
            return Vec::new();
        };
        let files = config.mistaken().into_iter();
        files.map(|file| FileStamp::at(file).ok().flatten()).collect()
    };
    let before = stamps();
    if before.is_empty() {
        return future::pending().await;
    }
    while stamps() == before {
        sleep(RECHECK_INTERVAL).await;
    }
}

/// Waits until no connection is left, for `drain-timeout` or a second signal at most; what is left then is reset.
async fn drain(shared: &Shared, signals: &Signals, plan: &Plan) {
    let drain_timeout = match plan {
        Plan::Serve { config, .. } => config.host.drain_timeout,
        Plan::TurnAway => Duration::ZERO,
    };
    tokio::select! {
        biased;
        () = shared.activity.quiet() => return,
        () = signals.ending() => {}
        () = sleep(drain_timeout) => {}
    }
    shared.activity.give_up();
    let left = shared.activity.in_flight();
    if left > 0 {
        let message =
            format_args!("connections still in flight are reset, after the drain timeout or a second signal: {left}");
        journal::log(Level::Warning, message);
    }
}

/// Starts serving one socket. If it cannot be served, that is logged, and the others are not affected.
fn listen(shared: &Arc<Shared>, handlers: &mut Handlers<'_>, listening: &mut JoinSet<()>, socket: Socket) {
    let handler = handlers.of(&socket);
    let (name, fd) = (socket.name, socket.fd);
    let kind = match activation::kind(&fd) {
        Ok(kind) => kind,
        Err(error) => {
            report_unserved(&name, error);
            listening.spawn(discard(fd));
            return;
        }
    };
    let shared = shared.clone();
    let served = match kind {
        Kind::Listener(protocol) => Listener::new(fd, protocol).map(|listener| {
            listening.spawn(listener.accept_all(shared, handler));
        }),
        Kind::Udp | Kind::UnixDatagrams => DatagramQueue::new(fd).map(|queue| {
            listening.spawn(queue.receive_all(shared, handler));
        }),
        Kind::Connection(protocol) => rustix::io::ioctl_fionbio(&fd, true)
            .map(|()| connection::spawn(&shared, &handler, fd, protocol, None, None))
            .map_err(io::Error::from),
    };
    if let Err(error) = served {
        report_unserved(&name, error);
    }
}

/// Reads and discards what arrives on a descriptor that cannot be served: unread input would make systemd start the
/// host again as soon as it exits.
async fn discard(fd: OwnedFd) {
    let mut ignored = vec![0; 64 * 1024];
    let Ok(()) = rustix::io::ioctl_fionbio(&fd, true) else {
        return;
    };
    let Ok(fd) = event_loop::register(fd) else {
        return;
    };
    while let Ok(mut ready) = fd.readable().await {
        match rustix::io::read(fd.get_ref(), &mut ignored) {
            Ok(1..) => {}
            Err(rustix::io::Errno::AGAIN) => ready.clear_ready(),
            Ok(0) | Err(_) => return,
        }
        tokio::task::yield_now().await;
    }
}

/// Logs that a socket is not served.
fn report_unserved(name: &str, why: impl std::fmt::Display) {
    journal::log(Level::Error, format_args!("socket {name:?} is not served: {why}"));
}
