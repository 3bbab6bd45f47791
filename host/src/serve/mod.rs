//! Sockets meet guests.

mod accept;
mod handlers;
mod peer;
mod stream;

use crate::activation::{self, Passed, Socket, SocketError};
use crate::config::Config;
use crate::guest::Connection;
use crate::journal::{self, Level};
use crate::lifecycle::{self, Activity, Signals};
use crate::module::Cache;
use rustix::process::{Resource, getrlimit};
use sd_notify::NotifyState;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{future, io};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use wasmtime::Engine;

use accept::Listener;
use handlers::Handlers;

/// Descriptors that are not for connections: standard streams, event loop, signals, the journal,
/// a module that is loaded, the compiler's pipes.
const RESERVED_DESCRIPTORS: usize = 24;

/// How long connections are turned away before the configuration is read anew.
const TURN_AWAY: Duration = Duration::from_secs(5);

/// What all connections of the process share.
pub struct Host {
    pub engine: Engine,
    pub cache: Option<Cache>,
    pub activity: Arc<Activity>,
    /// One permit for each descriptor that connections may have. A client waits in the kernel until
    /// there are enough for it; were it accepted, it would be for nothing.
    pub descriptors: Arc<Semaphore>,
    /// How many there are.
    pub descriptor_limit: usize,
}

/// What is to be done with connections.
pub enum Plan {
    Serve {
        config: Config,
        /// The module of every socket, whatever its name (`--module`).
        module: Option<PathBuf>,
    },
    /// Reset them for a while, because the configuration is bad.
    ///
    /// Leaving at once would make systemd start us again for the client that waits, until it gives
    /// the sockets up (`TriggerLimitBurst=`). Staying would hide that the configuration was mended.
    TurnAway,
}

/// Serves the sockets until the host is idle or told to stop.
///
/// # Errors
/// When the process cannot serve at all (no event loop, no engine).
pub fn serve(passed: Passed, plan: &Plan) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let limit = getrlimit(Resource::Nofile)
        .current
        .map_or(usize::MAX, |limit| limit as usize);
    let taken = passed.sockets.len() + RESERVED_DESCRIPTORS;
    let descriptors = limit.saturating_sub(taken).clamp(1, Semaphore::MAX_PERMITS);
    let host = Arc::new(Host {
        engine: crate::module::engine().map_err(io::Error::other)?,
        cache: Cache::from_environment(),
        activity: Activity::new(),
        descriptors: Arc::new(Semaphore::new(descriptors)),
        descriptor_limit: descriptors,
    });
    let served = runtime.block_on(run(&host, passed, plan));
    // What is left are guests that outlived the drain, and threads that wait for a file system.
    runtime.shutdown_background();
    served
}

async fn run(host: &Arc<Host>, passed: Passed, plan: &Plan) -> io::Result<()> {
    let signals = Signals::new()?;
    let mut handlers = Handlers::new(plan);
    let mut listening = JoinSet::new();
    // Whoever waits is answered first; a thousand other sockets are looked at afterwards.
    let (first, later): (Vec<_>, Vec<_>) =
        passed.sockets.into_iter().partition(|socket| socket.ready);
    for socket in first {
        listen(host, &mut handlers, &mut listening, socket);
    }
    tokio::task::yield_now().await;
    for socket in later {
        listen(host, &mut handlers, &mut listening, socket);
    }
    for (name, error) in passed.not_open {
        report_unserved(&name, error);
    }
    lifecycle::notify(&[NotifyState::Ready]);
    let mut reports = JoinSet::new();
    reports.spawn(lifecycle::report_status(
        host.activity.clone(),
        handlers.count(),
    ));
    reports.spawn(lifecycle::answer_watchdog());
    until_done(host, &signals, listening, plan).await;
    Ok(())
}

/// Serves until it is time to leave, or until a signal; then finishes what is in flight.
async fn until_done(host: &Host, signals: &Signals, mut listening: JoinSet<()>, plan: &Plan) {
    let time_to_leave = async {
        match plan {
            Plan::TurnAway => sleep(TURN_AWAY).await,
            Plan::Serve { config, .. } => match config.host.idle_timeout {
                Some(timeout) => host.activity.idle(timeout).await,
                None => future::pending().await,
            },
        }
    };
    tokio::select! {
        biased;
        () = signals.next() => {}
        () = time_to_leave => {}
    }
    lifecycle::notify(&[NotifyState::Stopping]);
    listening.abort_all();
    if host.activity.in_flight() > 0 {
        drain(host, signals, plan).await;
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
        () = signals.next() => {}
        () = sleep(drain_timeout) => {}
    }
    let left = host.activity.in_flight();
    let message = format_args!(
        "connections still in flight are reset, after the drain timeout or a second signal: {left}"
    );
    journal::log(Level::Warning, message);
}

/// Starts accepting on one socket. One that cannot be served is reported; the others are.
fn listen(
    host: &Arc<Host>,
    handlers: &mut Handlers<'_>,
    listening: &mut JoinSet<()>,
    socket: Socket,
) {
    let handler = handlers.of(&socket);
    let listener = match activation::kind(&socket.fd) {
        Ok(kind) => Listener::new(socket.fd, kind),
        Err(error) => {
            if error == SocketError::AlreadyAccepted {
                Connection::new(socket.fd, false).reset();
            }
            return report_unserved(&socket.name, error);
        }
    };
    match listener {
        Ok(listener) => {
            listening.spawn(listener.accept_all(host.clone(), handler));
        }
        Err(error) => report_unserved(&socket.name, error),
    }
}

fn report_unserved(name: &str, why: impl std::fmt::Display) {
    journal::log(
        Level::Error,
        format_args!("socket {name:?} is not served: {why}"),
    );
}
