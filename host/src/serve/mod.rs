//! Sockets meet guests.

mod accept;
mod connection;
mod datagram;
mod handlers;
mod http;
mod stream;
mod threads;

use crate::activation::{self, Kind, Passed, Socket};
use crate::allocator;
use crate::config::{Config, HostConfig, RESERVED_DESCRIPTORS};
use crate::journal::{self, Level};
use crate::lifecycle::{self, Activity, Signals};
use crate::limits;
use crate::module::{Compiled, FileStamp, Places};
use crate::runtime::{self, Engines};
use crate::sandbox;
use crate::trace::{self, Mark};
use rustix::process::{Resource, getrlimit};
use sd_notify::NotifyState;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{future, io};
use tokio::io::unix::AsyncFd;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use accept::Listener;
use datagram::Mailbox;
use handlers::Handlers;
use threads::Threads;

/// How many events the kernel tells at a time. There is room for them from the start: tokio's 1,024 take
/// three pages, at 2 µs.
const EVENTS: usize = 128;

/// How long connections are turned away before the configuration is read anew; how often files with
/// mistakes are looked at.
const TURN_AWAY: Duration = Duration::from_secs(5);

/// What all connections of the process share.
pub struct Host {
    pub engines: Engines,
    /// Where compiled modules come from.
    pub compiled: Compiled,
    pub activity: Arc<Activity>,
    pub threads: Threads,
    /// One for each connection that all handlers together may have (`max-connections`).
    pub places: Places,
    /// One permit for each descriptor that connections may have. A client waits in the kernel until
    /// there are enough for it; were it accepted, it would be for nothing.
    pub descriptors: Arc<Semaphore>,
    /// How many there are.
    pub descriptor_limit: usize,
}

/// What is to be done with connections.
pub enum Plan {
    Serve {
        config: Box<Config>,
        /// The module of every socket, whatever its name (`--module`).
        module: Option<PathBuf>,
    },
    /// Reset them for a while, because the configuration is bad, or asks for what cannot be had.
    ///
    /// Leaving at once would make systemd start us again for the client that waits, until it gives
    /// the sockets up (`TriggerLimitBurst=`). Staying would hide that the configuration was mended.
    TurnAway,
}

/// Serves the sockets until the host is idle or told to stop.
///
/// # Errors
/// When the process cannot serve at all (no event loop, no engine).
pub fn serve(passed: Passed, plan: &Plan, compiled: Compiled) -> io::Result<()> {
    allocator::keep_blocks();
    journal::buffer();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_io_events_per_tick(EVENTS)
        // Before it waits: whoever looks at the log then finds all that has happened.
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
    let host = Arc::new(Host {
        engines: Engines::new(settings.stack).map_err(io::Error::other)?,
        compiled,
        activity: Activity::new(),
        threads: Threads::default(),
        places: Places::new(settings.max_connections.map_or(usize::MAX, |most| most as usize)),
        descriptors: Arc::new(Semaphore::new(descriptors)),
        descriptor_limit: descriptors,
    });
    trace::pass(Mark::Engine);
    let served = runtime.block_on(run(&host, passed, plan));
    // What is left are guests that outlived the drain, and threads that wait for a file system.
    runtime::stop_turns();
    host.threads.stop();
    runtime.shutdown_background();
    journal::flush();
    served
}

async fn run(host: &Arc<Host>, passed: Passed, plan: &Plan) -> io::Result<()> {
    let mut handlers = Handlers::new(plan);
    let mut listening = JoinSet::new();
    // Whoever waits is answered first; a thousand other sockets are looked at afterwards.
    let (first, later): (Vec<_>, Vec<_>) = passed.sockets.into_iter().partition(|socket| socket.ready);
    for socket in first {
        listen(host, &mut handlers, &mut listening, socket);
    }
    tokio::task::yield_now().await;
    // Those that came meanwhile were held.
    let signals = Signals::new()?;
    for socket in later {
        listen(host, &mut handlers, &mut listening, socket);
    }
    for (name, error) in passed.not_open {
        report_unserved(&name, error);
    }
    lifecycle::notify(&[NotifyState::Ready]);
    let mut reports = JoinSet::new();
    reports.spawn(lifecycle::report_status(host.activity.clone(), handlers.count()));
    reports.spawn(lifecycle::answer_watchdog());
    reports.spawn(give_back(host.clone()));
    until_done(host, &signals, listening, plan).await;
    Ok(())
}

/// Gives back the memory that a crowd needed, whenever it has gone.
async fn give_back(host: Arc<Host>) {
    loop {
        host.engines.give_back_pools().await;
        host.threads.spawn_in_each(async || allocator::give_back());
        allocator::give_back();
    }
}

/// Serves until it is time to leave, or until a signal; then finishes what is in flight.
async fn until_done(host: &Host, signals: &Signals, mut listening: JoinSet<()>, plan: &Plan) {
    let idle = async {
        match plan {
            Plan::TurnAway => sleep(TURN_AWAY).await,
            Plan::Serve { config, .. } => match config.host.idle_timeout {
                Some(timeout) => host.activity.idle(timeout).await,
                None => future::pending().await,
            },
        }
    };
    // No sooner than after a while, or what stays wrong would make systemd start us all the time.
    let earliest = Instant::now() + TURN_AWAY;
    let outdated = async {
        sandbox::outdated().await;
        sleep_until(earliest).await;
    };
    let nothing_left = async {
        match listening.is_empty() {
            // All there was were connections, accepted by whoever started us.
            true => host.activity.quiet().await,
            false => future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = signals.ending() => {}
        () = idle => {}
        () = nothing_left => {}
        () = outdated => {}
        () = mended(plan) => {}
    }
    lifecycle::notify(&[NotifyState::Stopping]);
    listening.abort_all();
    host.activity.close();
    drain(host, signals, plan).await;
}

/// Waits until one of the files has changed that keep a handler from being served.
async fn mended(plan: &Plan) {
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
        sleep(TURN_AWAY).await;
    }
}

async fn drain(host: &Host, signals: &Signals, plan: &Plan) {
    let drain_timeout = match plan {
        Plan::Serve { config, .. } => config.host.drain_timeout,
        Plan::TurnAway => Duration::ZERO,
    };
    tokio::select! {
        biased;
        () = host.activity.quiet() => return,
        () = signals.ending() => {}
        () = sleep(drain_timeout) => {}
    }
    host.activity.give_up();
    let left = host.activity.in_flight();
    if left > 0 {
        let message =
            format_args!("connections still in flight are reset, after the drain timeout or a second signal: {left}");
        journal::log(Level::Warning, message);
    }
}

/// Starts serving one socket. One that cannot be served is reported; the others are.
fn listen(host: &Arc<Host>, handlers: &mut Handlers<'_>, listening: &mut JoinSet<()>, socket: Socket) {
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
    let host = host.clone();
    let served = match kind {
        Kind::Listener(protocol) => Listener::new(fd, protocol).map(|listener| {
            listening.spawn(listener.accept_all(host, handler));
        }),
        Kind::Udp | Kind::UnixDatagrams => Mailbox::new(fd).map(|mailbox| {
            listening.spawn(mailbox.receive_all(host, handler));
        }),
        Kind::Connection(protocol) => rustix::io::ioctl_fionbio(&fd, true)
            .map(|()| connection::spawn(&host, &handler, fd, protocol, None, None))
            .map_err(io::Error::from),
    };
    if let Err(error) = served {
        report_unserved(&name, error);
    }
}

/// Reads what comes to a descriptor that cannot be served, and forgets it: what stays in it would
/// make systemd start us again as soon as we leave.
async fn discard(fd: OwnedFd) {
    let mut ignored = vec![0; 64 * 1024];
    let Ok(()) = rustix::io::ioctl_fionbio(&fd, true) else {
        return;
    };
    // SAFETY: an owned descriptor has one number, and is open, for as long as it lives.
    let Ok(fd) = (unsafe { AsyncFd::register(fd) }) else {
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

fn report_unserved(name: &str, why: impl std::fmt::Display) {
    journal::log(Level::Error, format_args!("socket {name:?} is not served: {why}"));
}
