//! Sockets meet guests.

mod accept;
mod peer;
mod stream;

use crate::activation::{self, Socket};
use crate::config::{Config, valid_handler_name};
use crate::guest::Connection;
use crate::journal::{self, Level};
use crate::lifecycle::{self, Activity, Signals};
use crate::module::{Cache, Files, Handler};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SocketFlags;
use sd_notify::NotifyState;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use std::{future, io};
use tokio::task::JoinSet;
use wasmtime::Engine;

use accept::Listener;

/// What all connections of the process share.
pub struct Host {
    pub engine: Engine,
    pub cache: Option<Cache>,
    pub activity: Arc<Activity>,
}

/// What to serve, and how.
pub struct Options {
    pub config: Config,
    /// The module of every socket, whatever its name (`--module`).
    pub module: Option<PathBuf>,
}

/// Serves the sockets until the host is idle or told to stop.
///
/// # Errors
/// When the process cannot serve at all (no event loop, no engine).
pub fn serve(sockets: Vec<Socket>, options: &Options) -> io::Result<()> {
    let ready = ready(&sockets);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let host = Arc::new(Host {
        engine: crate::module::engine().map_err(io::Error::other)?,
        cache: Cache::from_environment(),
        activity: Activity::new(),
    });
    let served = runtime.block_on(run(&host, sockets, ready, options));
    // What is left are guests that outlived the drain, and threads that wait for a file system.
    runtime.shutdown_background();
    served
}

async fn run(
    host: &Arc<Host>,
    sockets: Vec<Socket>,
    ready: Vec<bool>,
    options: &Options,
) -> io::Result<()> {
    let mut handlers = Handlers {
        options,
        by_name: HashMap::new(),
    };
    let mut listening = JoinSet::new();
    let mut later = Vec::new();
    // Whoever waits is answered first; a thousand other sockets are looked at afterwards.
    for (socket, ready) in sockets.into_iter().zip(ready) {
        if ready {
            listen(host, &mut handlers, &mut listening, socket);
        } else {
            later.push(socket);
        }
    }
    tokio::task::yield_now().await;
    for socket in later {
        listen(host, &mut handlers, &mut listening, socket);
    }
    let handlers = handlers.by_name.len();
    lifecycle::notify(&[NotifyState::Ready]);
    let _status = Background::spawn(lifecycle::report_status(host.activity.clone(), handlers));
    let _watchdog = Background::spawn(lifecycle::answer_watchdog());
    until_done(host, listening, &options.config).await
}

/// Serves until idle, or until a signal; then finishes what is in flight.
async fn until_done(host: &Host, mut listening: JoinSet<()>, config: &Config) -> io::Result<()> {
    let signals = Signals::new()?;
    let idle = async {
        match config.host.idle_timeout {
            Some(timeout) => host.activity.idle(timeout).await,
            None => future::pending().await,
        }
    };
    tokio::select! {
        biased;
        () = signals.next() => {}
        () = idle => {
            lifecycle::notify(&[NotifyState::Stopping]);
            return Ok(());
        }
    }
    lifecycle::notify(&[NotifyState::Stopping]);
    listening.abort_all();
    tokio::select! {
        () = host.activity.quiet() => {}
        () = signals.next() => {}
        () = tokio::time::sleep(config.host.drain_timeout) => {}
    }
    match host.activity.in_flight() {
        0 => {}
        left => {
            let message = format!(
                "{left} connections were still in flight after the drain timeout and are reset"
            );
            journal::log(Level::Warning, message);
        }
    }
    Ok(())
}

/// How long connections are turned away before the configuration is read anew.
const TURN_AWAY: Duration = Duration::from_secs(5);

/// Resets every connection for a while, because the configuration is bad; `errors` is logged.
///
/// Leaving at once would make systemd start us again for the client that waits, until it gives the
/// sockets up (`TriggerLimitBurst=`). Staying for good would hide that the configuration was mended.
///
/// # Errors
/// When the process cannot serve at all.
pub fn turn_away(sockets: Vec<Socket>, errors: &str) -> io::Result<()> {
    journal::log(
        Level::Error,
        format_args!("bad configuration, all connections are reset:\n{errors}"),
    );
    let until = Instant::now() + TURN_AWAY;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        let mut fds = poll_set(&sockets);
        poll(
            &mut fds,
            Some(&Timespec::try_from(left).map_err(io::Error::other)?),
        )?;
        for (socket, fd) in sockets.iter().zip(&fds) {
            if fd.revents().contains(PollFlags::IN)
                && let Ok(connection) = rustix::net::accept_with(&socket.fd, SocketFlags::CLOEXEC)
            {
                Connection::new(connection, false).reset();
            }
        }
    }
}

/// Which sockets have a client waiting, asked in one system call.
fn ready(sockets: &[Socket]) -> Vec<bool> {
    let mut fds = poll_set(sockets);
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // Failing that, nobody is served first.
    let _ = poll(&mut fds, Some(&now));
    fds.iter()
        .map(|fd| fd.revents().contains(PollFlags::IN))
        .collect()
}

fn poll_set(sockets: &[Socket]) -> Vec<PollFd<'_>> {
    sockets
        .iter()
        .map(|socket| PollFd::new(&socket.fd, PollFlags::IN))
        .collect()
}

/// The handlers of the sockets that were passed.
struct Handlers<'a> {
    options: &'a Options,
    by_name: HashMap<String, Arc<Handler>>,
}

impl Handlers<'_> {
    /// The handler that a socket's name stands for; every socket has one, and whether there is a
    /// module for it shows when somebody connects.
    fn of(&mut self, socket: &Socket) -> Arc<Handler> {
        let name = activation::handler_name(&socket.name);
        if let Some(handler) = self.by_name.get(name) {
            return handler.clone();
        }
        let Options { config, module } = self.options;
        let settings = config.handler(name).into_owned();
        let files = match module {
            Some(path) => Some(Files::at(path)),
            None if !valid_handler_name(name) => None,
            None => Some(Files::of(name, &settings, &config.host.modules)),
        };
        let handler = Arc::new(Handler::new(name.to_owned(), settings, files));
        self.by_name.insert(name.to_owned(), handler.clone());
        handler
    }
}

/// Starts accepting on one socket. One that cannot be served is reported; the others are.
fn listen(
    host: &Arc<Host>,
    handlers: &mut Handlers<'_>,
    listening: &mut JoinSet<()>,
    socket: Socket,
) {
    let handler = handlers.of(&socket);
    let started = activation::kind(&socket.fd)
        .map_err(|error| error.to_string())
        .and_then(|kind| Listener::new(socket.fd, kind).map_err(|error| error.to_string()));
    match started {
        Ok(listener) => {
            listening.spawn(listener.accept_all(host.clone(), handler));
        }
        Err(error) => {
            let message = format!("socket {:?} is not served: {error}", socket.name);
            journal::log(Level::Error, message);
        }
    }
}

/// A task that ends with its owner.
struct Background(tokio::task::JoinHandle<()>);

impl Background {
    fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(task))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.0.abort();
    }
}
