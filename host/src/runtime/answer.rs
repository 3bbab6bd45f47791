//! One HTTP request from the server to a guest and back, for WASI 0.2 (`wasi:http/incoming-handler`) and WASI 0.3
//! (`wasi:http/handler`).
//!
//! | interface | instance | how |
//! |---|---|---|
//! | `wasi:http/incoming-handler` 0.2 | one for each request | [`super::http_p2`]; the guest's life after its response: this file |
//! | `wasi:http/handler` 0.3 | shared by several requests | [`super::http_p3`] |
//!
//! The caller sees neither the version nor Wasmtime's types. It passes a request, and gets a response and an
//! [`AnsweringGuest`], which it keeps until the response was sent.

use super::engines::Engines;
use super::http_p2::{self, Answer};
use super::http_p3::{ActivityToken, Bounds, NoAnswer, RequestGuard};
use super::linked::Linked;
use super::outcome::{Cause, GuestEnd, MAX_ERROR_TEXT};
use super::program::Program;
use crate::journal;
use crate::limits::Meter;
use crate::wasi::{self, Completion, GuestContext};
use ::http::{Request, Response};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use wasm_sock_stats::Outcome;

pub use wasmtime_wasi_http::{Error as BodyError, WasiBody as GuestBody};

/// What the server provides for a request while a guest answers it: limits, context, callbacks.
pub trait Caller: Send + Sync + 'static {
    /// The limits of the request.
    fn bounds(&self) -> Bounds;

    /// The context of its guest; `is_shared`: the instance also answers other requests, so that no client is named.
    fn guest(&self, is_shared: bool) -> Arc<GuestContext>;

    /// A token that a shared instance holds while it works for the request, also after its response.
    fn keep(&self) -> ActivityToken;

    /// Passes the CPU meter of a guest that answers only this request.
    fn metered_by(&self, meter: Arc<Meter>);

    /// The guest was ended after its response had begun; why.
    fn ended_late(&self, cause: Cause);
}

/// Why no guest answered.
pub enum Unanswered {
    /// The program answers no HTTP requests.
    NotHttp,
    /// The request exceeded its `timeout`.
    TimedOut,
    /// The guest was ended, or answered with an error; why.
    Failed(Cause),
}

impl From<NoAnswer> for Unanswered {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::TimedOut => Self::TimedOut,
            NoAnswer::Failed(cause) => Self::Failed(cause),
        }
    }
}

/// The guest behind a response, which may still be writing the body. Dropping it ends a guest that answers only this
/// request.
pub struct AnsweringGuest(Instance);

enum Instance {
    /// It answers only this request, and continues in a task if it has not ended.
    Own {
        completion: Arc<Completion>,
        task: AbortOnDrop,
    },
    /// It also answers other requests.
    Shared(RequestGuard),
}

impl AnsweringGuest {
    /// Did the guest end before its response was complete?
    pub fn is_broken(&self) -> bool {
        match &self.0 {
            Instance::Own { completion, .. } => completion.is_broken(),
            Instance::Shared(guard) => guard.is_broken(),
        }
    }

    /// The response was sent: lets the guest continue until it ends by itself.
    pub fn let_go(&mut self) {
        if let Instance::Own { task, .. } = &mut self.0 {
            task.disarm();
        }
    }

    /// Why the response is not complete. `None`: the guest's task is about to report it ([`Caller::ended_late`]).
    pub fn why_broken(&mut self) -> Option<Cause> {
        match &mut self.0 {
            Instance::Own { completion, task } if completion.is_broken() => {
                task.disarm();
                None
            }
            Instance::Own { .. } => Some(Cause::trap("it left its answer unfinished")),
            Instance::Shared(guard) => Some(guard.end()),
        }
    }
}

/// The task of a guest that continues after its response, if there is one; aborted on drop.
struct AbortOnDrop(Option<AbortHandle>);

impl AbortOnDrop {
    fn disarm(&mut self) {
        self.0 = None;
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Program {
    /// Lets a guest answer `request`: returns as soon as the guest has set the response's head. Dropping the future
    /// ends a guest that answers only this request.
    ///
    /// # Errors
    /// See [`Unanswered`].
    pub async fn answer(
        &self,
        engines: &Engines,
        request: Request<GuestBody>,
        caller: &Arc<impl Caller>,
    ) -> Result<(Response<GuestBody>, AnsweringGuest), Unanswered> {
        let (guest, slot) = self.guest(engines);
        let bounds = caller.bounds();
        match &*guest {
            Linked::Proxy(pre) => {
                let guest = caller.guest(false);
                let meter = Meter::new(guest.history.clone(), self.cost);
                caller.metered_by(meter.clone());
                let state = wasi::state(guest, self.cost, None);
                let state = state.map_err(|error| Unanswered::Failed(error.into()))?;
                let answer = http_p2::answer((pre, slot), state, request, bounds.cpu_time, meter);
                first_of(answer, bounds.timeout, caller).await
            }
            Linked::Service(service) => {
                let guest = caller.guest(bounds.reuse != 1);
                let (response, guard) = service.answer(request, bounds, guest, caller.keep()).await?;
                Ok((response, AnsweringGuest(Instance::Shared(guard))))
            }
            Linked::Core(_) | Linked::Command(_) | Linked::AsyncCommand(_) => Err(Unanswered::NotHttp),
        }
    }
}

/// Runs a guest that answers only one request until it has set the response's head, or ends. A guest that continues
/// after that does so in a task of its own, within the rest of its time `limit`.
async fn first_of(
    answer: Answer<impl Future<Output = GuestEnd> + Send + 'static>,
    limit: Option<Duration>,
    caller: &Arc<impl Caller>,
) -> Result<(Response<GuestBody>, AnsweringGuest), Unanswered> {
    let Answer {
        guest,
        mut response,
        completion,
    } = answer;
    let mut guest = Box::pin(async move {
        match limit {
            Some(limit) => timeout(limit, guest).await.ok(),
            None => Some(guest.await),
        }
    });
    let (response, task) = tokio::select! {
        // In this order: a guest that ends at once needs no task.
        biased;
        end = &mut guest => match end {
            None => return Err(Unanswered::TimedOut),
            Some(GuestEnd::Trap(cause)) => return Err(Unanswered::Failed(cause)),
            Some(GuestEnd::Exit(code)) => match response.try_recv() {
                Ok(response) => (response, None),
                Err(_) => {
                    let why = format!("ended with exit code {code} before it answered");
                    return Err(Unanswered::Failed(Cause::new(Outcome::Exit, why)));
                }
            },
        },
        Ok(response) = &mut response => {
            // With it the guest holds the request's permit, until it is done.
            let caller = caller.clone();
            let task = tokio::spawn(async move {
                let end = guest.await.unwrap_or_else(|| GuestEnd::timed_out(limit.unwrap_or_default()));
                if let GuestEnd::Trap(cause) = end {
                    caller.ended_late(cause);
                }
            });
            (response, Some(task.abort_handle()))
        }
    };
    let task = AbortOnDrop(task);
    match response {
        Ok(response) => Ok((response, AnsweringGuest(Instance::Own { completion, task }))),
        Err(error) => {
            let error = journal::shortened(format_args!("{error:?}"), MAX_ERROR_TEXT);
            Err(Unanswered::Failed(Cause::trap(format!(
                "answered with the error {error}"
            ))))
        }
    }
}
