//! The server: accept loops, per-connection tasks, reload, shutdown.

mod accept;
mod admission;
mod connection;
mod datagram;
mod exit_code;
mod handler;
mod handlers;
mod host_limits;
mod http;
mod life;
mod metrics;
mod record;
mod shared;
mod stream;
mod threads;

use crate::activation::{self, Kind, Passed, Socket};
use crate::config::{HostConfig, RESERVED_DESCRIPTORS};
use crate::event_loop;
use crate::journal::{self, Level};
use crate::keyvalue;
use crate::libc_overrides::heap;
use crate::lifecycle::{self, Activity, Signals};
use crate::runtime::{self, Engines};
use crate::startup::{Plan, Started};
use crate::trace::{self, Mark};
use rustix::process::{Resource, getrlimit};
use std::io;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use accept::Listener;
use admission::slots::ConnectionSlots;
use datagram::DatagramQueue;
use handler::Handler;
use handlers::Handlers;
use host_limits::{limit_memory, most_connections};
use life::{Ended, Server};
use shared::Shared;
use threads::Threads;

/// The most events of one `epoll_wait(2)`. The buffer is allocated at the start: tokio's default of 1,024 takes three
/// pages, which costs 2 µs.
const MAX_EVENTS: usize = 128;

/// How serving has ended.
pub enum Ending {
    /// Clients, or none.
    Served {
        /// The exit code of the guests ([`exit_code::GuestExit`]).
        guests: ExitCode,
        /// What a keeper has to know of that: an exit code.
        kept: ExitCode,
    },
    /// Nothing could be served: connections were reset.
    TurnedAway,
}

/// Serves the sockets until the host is idle, gets a signal, or hands over; then drains.
///
/// # Errors
/// When the process cannot serve at all (no event loop, no engine).
pub fn serve(started: Started) -> io::Result<Ending> {
    let Started {
        passed,
        plan,
        compiled,
        reload,
        stats,
        egress,
    } = started;
    heap::keep_blocks();
    journal::buffer();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_io_events_per_tick(MAX_EVENTS)
        // Before it waits, so that the log is up to date while the host is idle.
        .on_thread_park(journal::flush)
        .build()?;
    let settings = match &plan {
        Plan::Serve { config, .. } => &config.host,
        Plan::TurnAway => &HostConfig::default(),
    };
    let limit = getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |limit| limit as usize);
    limit_memory(settings);
    let taken = passed.sockets.len() + RESERVED_DESCRIPTORS;
    let descriptors = limit.saturating_sub(taken).clamp(1, Semaphore::MAX_PERMITS);
    let shared = Arc::new(Shared {
        engines: Engines::new(settings.stack).map_err(io::Error::other)?,
        compiled,
        activity: Activity::new(),
        stats,
        threads: Threads::default(),
        slots: ConnectionSlots::new(most_connections(settings)),
        descriptors: Arc::new(Semaphore::new(descriptors)),
        descriptor_limit: descriptors,
    });
    trace::pass(Mark::Engine);
    let handlers = Handlers::new(egress);
    let guest_exit = handlers.guest_exit.clone();
    let server = Server {
        shared: shared.clone(),
        plan,
        handlers,
        reload,
    };
    let ended = runtime.block_on(run(server, passed));
    // What is left are guests that did not end within the drain timeout, and threads that wait for a file system.
    runtime::stop_turns();
    shared.threads.stop();
    runtime.shutdown_background();
    keyvalue::finish();
    if let Some(stats) = &shared.stats {
        stats.leave();
    }
    journal::flush();
    let ended = ended?;
    Ok(match ended.has_served {
        true => Ending::Served {
            guests: guest_exit.code(),
            kept: ended.kept,
        },
        false => Ending::TurnedAway,
    })
}

/// Serves the sockets: those with pending clients first.
async fn run(mut server: Server, passed: Passed) -> io::Result<Ended> {
    let mut listening = JoinSet::new();
    // Pending clients are served first; registering a thousand other sockets would delay them.
    let (first, later): (Vec<_>, Vec<_>) = passed.sockets.into_iter().partition(|socket| socket.ready);
    count_activations(&mut server, &first);
    for socket in first {
        listen(&mut server, &mut listening, socket);
    }
    tokio::task::yield_now().await;
    // Signals that arrived meanwhile are blocked, and so still pending.
    let signals = Signals::new()?;
    for socket in later {
        listen(&mut server, &mut listening, socket);
    }
    for (name, error) in passed.not_open {
        report_unserved(&name, error);
    }
    lifecycle::notify_ready();
    let mut reports = JoinSet::new();
    let shared = &server.shared;
    reports.spawn(lifecycle::report_status(
        shared.activity.clone(),
        server.handlers.count(),
    ));
    reports.spawn(lifecycle::answer_watchdog());
    reports.spawn(journal::retry());
    reports.spawn(give_back(shared.clone()));
    Ok(server.until_done(&signals, listening).await)
}

/// Counts the start for the handlers whose clients it is for.
fn count_activations(server: &mut Server, ready: &[Socket]) {
    let mut woken: Vec<Arc<Handler>> = Vec::new();
    for socket in ready {
        let handler = server.handler_of(socket);
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

/// Starts serving one socket. If it cannot be served, that is logged, and the others are not affected.
fn listen(server: &mut Server, listening: &mut JoinSet<()>, socket: Socket) {
    let handler = server.handler_of(&socket);
    let (name, fd) = (socket.name, socket.fd);
    let kind = match activation::kind(&fd) {
        Ok(kind) => kind,
        Err(error) => {
            report_unserved(&name, error);
            listening.spawn(discard(fd));
            return;
        }
    };
    let shared = server.shared.clone();
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
