//! Accepts hosts until there was none for a while, or SIGTERM comes.

use crate::listener::{self, Listener};
use crate::log;
use crate::options::Options;
use crate::peer;
use crate::sandbox::{self, Needs};
use crate::session::{Service, Session};
use crate::termination;
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::unix::AsyncFd;
use tokio::sync::watch;

/// Threads that relay. More would be idle: a handler reaches out for a part of its time only.
const MOST_THREADS: usize = 4;

/// How long it accepts no host when it has no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// How long the hosts that are connected are served after SIGTERM: longer than they drain (`drain-timeout`, 10 s unless
/// configured). An upgrade restarts them at the same time, and what their guests have under way is not cut. The next
/// hosts wait at the socket, which is systemd's.
const DRAIN: Duration = Duration::from_secs(15);

/// Serves hosts. Returns when there was none for the idle time-out, or after SIGTERM, when those that are connected have
/// ended.
///
/// # Errors
/// When there is no socket to listen at, or no event loop.
pub fn serve(options: Options) -> io::Result<()> {
    let listener = listener::open(&options)?;
    let needs = Needs::of(&options);
    let service = Arc::new(Service::new(options.config));
    let signals = termination::block()?;
    // Before there are threads, which would not be confined.
    let missing = sandbox::enter(&needs);
    if !missing.is_empty() {
        log::warning(missing.join("; "));
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.min(MOST_THREADS))
        .enable_all()
        .build()?;
    runtime.block_on(accept_all(listener, signals, service, options.idle_timeout))?;
    runtime.shutdown_background();
    Ok(())
}

async fn accept_all(
    listener: Listener,
    signals: OwnedFd,
    service: Arc<Service>,
    idle_timeout: Option<Duration>,
) -> io::Result<()> {
    let Listener { fd, owner } = listener;
    // SAFETY: an owned descriptor is open, and has one number, for as long as it lives.
    let (listener, signals) = unsafe { (AsyncFd::register(fd)?, AsyncFd::register(signals)?) };
    // Each session has a receiver, so that the sender knows when there is none.
    let (sessions, counted) = watch::channel(());
    drop(counted);
    // Without a service manager there is nothing to notify.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    loop {
        let idle = async {
            sessions.closed().await;
            match idle_timeout {
                Some(timeout) => tokio::time::sleep(timeout).await,
                None => std::future::pending().await,
            }
        };
        let accepted = tokio::select! {
            biased;
            terminated = termination::wait(&signals) => {
                terminated?;
                return drain(&sessions).await;
            }
            accepted = accept(&listener) => accepted,
            () = idle => return Ok(()),
        };
        match accepted {
            Ok(connection) => begin(connection, owner, &service, sessions.subscribe()),
            Err(error) => {
                log::warning(format_args!("cannot accept a host: {error} (see LimitNOFILE=)"));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Waits until no host is connected, or has to be waited for.
async fn drain(sessions: &watch::Sender<()>) -> io::Result<()> {
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    if tokio::time::timeout(DRAIN, sessions.closed()).await.is_err() {
        log::warning(format_args!(
            "ended while {} hosts were connected: connections of their guests by TLS and UDP are cut",
            sessions.receiver_count()
        ));
    }
    Ok(())
}

async fn accept(listener: &AsyncFd<OwnedFd>) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let accept = |listener: &OwnedFd| match accept_with(listener, flags) {
        // The host has ended meanwhile.
        Err(Errno::CONNABORTED) => Err(io::ErrorKind::WouldBlock.into()),
        result => Ok(result?),
    };
    listener.async_io(tokio::io::Interest::READABLE, accept).await
}

fn begin(connection: OwnedFd, owner: Option<u32>, service: &Arc<Service>, counted: watch::Receiver<()>) {
    let session = peer::of(&connection, owner).and_then(|peer| Session::new(connection, peer, service.clone()));
    match session {
        Ok(session) => drop(tokio::spawn(async move {
            session.serve().await;
            drop(counted);
        })),
        Err(error) => log::warning(format_args!("a host is refused: {error}")),
    }
}
