//! Counts the work of a shared instance (WASI 0.3) that goes on after its answers, when no request of it is left:
//! in flight, one of `max-connections`, and with a record if it fails.

use super::session::Session;
use crate::journal::Level;
use crate::lifecycle::{InFlight, Open};
use crate::runtime::{Cause, InstanceActivity};
use crate::serve::record::{End, LogLine, Record, Usage};
use std::future::pending;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::AbortHandle;

/// Held by an instance for each of its requests, and after the last.
pub struct Activity {
    session: Arc<Session>,
    /// The drain waits for it.
    _open: Open,
    work: Option<Work>,
}

/// What goes on.
struct Work {
    began: Instant,
    /// The host does not exit as idle.
    _in_flight: InFlight,
    _permit: Permit,
}

/// One of the handler's permits of concurrent requests: those that are admitted and the instances that go on are
/// `max-connections` together. The request has just given its permit back, and another may have been faster. Then the
/// task that holds it waits for the next that is free, before any request gets it.
struct Permit(AbortHandle);

impl Activity {
    pub fn new(session: Arc<Session>) -> Self {
        Self {
            _open: session.host.activity.open(),
            session,
            work: None,
        }
    }

    fn record(&self, work: &Work, end: End) {
        let usage = Usage {
            duration: work.began.elapsed(),
            ..Usage::default()
        };
        let record = Record {
            handler: &self.session.handler,
            peer: None,
            connection: None,
            end,
            usage: Some(usage),
            http: None,
        };
        record.write(LogLine::Each);
    }
}

impl InstanceActivity for Activity {
    fn goes_on(&mut self) {
        let Session { host, handler, .. } = &*self.session;
        handler.stats.begin();
        let permits = handler.request_permits.clone();
        let hold = tokio::spawn(async move {
            let _permit = permits.acquire_owned().await;
            pending::<()>().await;
        });
        self.work = Some(Work {
            began: Instant::now(),
            _in_flight: host.activity.begin(),
            _permit: Permit(hold.abort_handle()),
        });
    }

    fn ends(&mut self, cause: Option<&Cause>) {
        let Some(work) = self.work.take() else {
            return;
        };
        match cause {
            // It was a part of a request that has its record.
            None => self.session.handler.stats.take_back(),
            Some(cause) => {
                let why = format!("work after the answer ended: {}", cause.why);
                let cause = Cause { why, ..cause.clone() };
                self.record(&work, End::with_cause(Level::Error, cause));
            }
        }
    }
}

/// Its instance was dropped while it went on.
impl Drop for Activity {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.record(&work, End::drained());
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.abort();
    }
}
