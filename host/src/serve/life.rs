//! The life of the server once its sockets are open: reloads, and the reasons to end; then the drain.

use super::handler::Handler;
use super::handlers::Handlers;
use super::host_limits::{limit_memory, most_connections};
use super::shared::Shared;
use crate::activation::Socket;
use crate::journal::{self, Level};
use crate::keeper;
use crate::lifecycle::{self, Request, Signals};
use crate::module::FileStamp;
use crate::sandbox;
use crate::startup::{Plan, Reading, Reload};
use sd_notify::NotifyState;
use std::future;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// How long connections are reset before the host exits and systemd starts one that reads the configuration again; also
/// how often configuration files with mistakes are checked for changes.
const RECHECK_INTERVAL: Duration = Duration::from_secs(5);

/// What serves, and what it is reloaded with.
pub struct Server {
    pub shared: Arc<Shared>,
    pub plan: Plan,
    pub handlers: Handlers,
    pub reload: Reload,
}

/// How serving has ended.
pub struct Ended {
    /// `false`: nothing could be served, and nothing has changed about that.
    pub has_served: bool,
    /// What a keeper has to know of it: an exit code.
    pub kept: ExitCode,
}

impl Server {
    /// Serves until there is a reason to exit (idle timeout, signal, changed files, a reload that this process cannot
    /// apply); then drains.
    pub async fn until_done(mut self, signals: &Signals, mut listening: JoinSet<()>) -> Ended {
        // Not at once: a cause that persists would make systemd start the host again and again.
        let earliest = Instant::now() + RECHECK_INTERVAL;
        let mut outdated = pin!(async {
            sandbox::outdated().await;
            sleep_until(earliest).await;
        });
        // All sockets were connections that the caller accepted (Accept=yes, inetd): exit after the last of them.
        let has_listeners = !listening.is_empty();
        let hands_over = loop {
            let request = tokio::select! {
                biased;
                request = signals.next() => request,
                () = self.idle(earliest) => break None,
                () = self.shared.activity.quiet(), if !has_listeners => break None,
                () = &mut outdated => break None,
                () = mistakes_changed(&self.plan) => break None,
            };
            match request {
                Request::End => break None,
                Request::Reload(sender) => {
                    let stays = self.reload();
                    if !stays {
                        break Some(sender);
                    }
                }
            }
        };
        listening.abort_all();
        self.shared.activity.close();
        if let Some(sender) = hands_over.filter(|_| !keeper::is_kept()) {
            // For systemd a reload has failed if the service says that it ends before the reload is over.
            tokio::select! {
                () = sender.reaped() => {}
                () = until_end(signals) => {}
            }
        }
        lifecycle::notify_stopping();
        self.drain(signals).await;
        Ended {
            has_served: hands_over.is_some() || matches!(self.plan, Plan::Serve { .. }),
            kept: self.kept(),
        }
    }

    /// What a keeper has to know.
    fn kept(&self) -> ExitCode {
        match (self.plan.parks(), self.shared.activity.has_begun()) {
            (Some(false), _) => keeper::KEEP_NO_MORE.into(),
            (_, false) => keeper::NOTHING_ACCEPTED.into(),
            (_, true) => ExitCode::SUCCESS,
        }
    }

    /// The handler of a socket.
    pub fn handler_of(&mut self, socket: &Socket) -> Arc<Handler> {
        self.handlers.of(socket, &self.plan, self.shared.stats.as_ref())
    }

    /// Waits until nothing was in flight for `idle-timeout`.
    async fn idle(&self, earliest: Instant) {
        match &self.plan {
            Plan::TurnAway => sleep_until(earliest).await,
            Plan::Serve { config, .. } => match config.host.idle_timeout {
                Some(timeout) => self.shared.activity.idle(timeout).await,
                None => future::pending().await,
            },
        }
    }

    /// Reads the configuration again, and applies it to new clients. Returns `false` when another process has to: this
    /// one hands over.
    fn reload(&mut self) -> bool {
        lifecycle::notify_reload();
        let reading = self.reload.read(&self.plan, &self.handlers.names());
        let stays = !matches!(reading, Reading::HandOver(_));
        let is_rejected = matches!(reading, Reading::Rejected);
        match reading {
            Reading::Nothing | Reading::Rejected | Reading::HandOver(None) => {}
            Reading::Apply(plan) => self.apply(plan),
            // Its `drain-timeout` is for the connections of today.
            Reading::HandOver(Some(plan)) => self.plan = plan,
        }
        // `wasm-sock reload` waits for that.
        if let Some(stats) = &self.shared.stats {
            stats.set_reload(!is_rejected);
        }
        lifecycle::notify(&[NotifyState::Ready]);
        stays
    }

    fn apply(&mut self, plan: Plan) {
        if let Plan::Serve { config, .. } = &plan {
            limit_memory(&config.host);
            self.shared.slots.resize(most_connections(&config.host));
        }
        let replaced = self.handlers.replace(&plan);
        let what = match replaced.len() {
            0 => "no handler has other settings than before".to_owned(),
            1..=MAX_NAMES => {
                let names: Vec<&str> = replaced.into_iter().collect();
                format!("new connections get the new settings of {}", names.join(", "))
            }
            many => format!("new connections get the new settings of {many} handlers"),
        };
        self.plan = plan;
        journal::log(Level::Info, format_args!("reload: applied: {what}"));
    }

    /// Waits until no connection is left, for `drain-timeout` or a second signal at most; what is left then is reset.
    async fn drain(&self, signals: &Signals) {
        let shared = &self.shared;
        let drain_timeout = match &self.plan {
            Plan::Serve { config, .. } => config.host.drain_timeout,
            Plan::TurnAway => Duration::ZERO,
        };
        tokio::select! {
            biased;
            () = shared.activity.quiet() => return,
            () = until_end(signals) => {}
            () = sleep(drain_timeout) => {}
        }
        shared.activity.give_up();
        let left = shared.activity.in_flight();
        if left > 0 {
            let message = format_args!(
                "connections still in flight are reset, after the drain timeout or a second signal: {left}"
            );
            journal::log(Level::Warning, message);
        }
    }
}

/// The most handlers that are named in the log line of a reload.
const MAX_NAMES: usize = 8;

/// Waits for a signal that ends the host, while it is ending.
async fn until_end(signals: &Signals) {
    while signals.next().await != Request::End {
        let message = "SIGHUP: the host is ending; the next one reads the configuration";
        journal::log(Level::Info, message);
    }
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
