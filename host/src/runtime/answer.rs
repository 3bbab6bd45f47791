//! A program answers one HTTP request, whichever version of WASI it was written for.
//!
//! | interface | instance | how |
//! |---|---|---|
//! | `wasi:http/incoming-handler` 0.2 | one for each request | [`super::http`], and here what becomes of it after its answer |
//! | `wasi:http/handler` 0.3 | shared by several requests | [`super::service`] |
//!
//! Callers see neither which it is nor Wasmtime's types: a request goes in, a response comes out, and with it the
//! [`AnsweringGuest`], which has to be kept until the response was sent.

use super::engines::Engines;
use super::http_p2::{self, Answer};
use super::http_p3::{Bounds, NoAnswer, RequestGuard};
use super::linked::Linked;
use super::outcome::{GuestEnd, WORDS};
use super::program::Program;
use crate::journal;
use crate::limits::Meter;
use crate::wasi::{self, Completion, GuestContext};
use ::http::{Request, Response};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::AbortHandle;
use tokio::time::timeout;

pub use wasmtime_wasi_http::{Error as BodyError, WasiBody as GuestBody};

/// What is asked and told about a request while a guest answers it.
pub trait Caller: Send + Sync + 'static {
    /// What the request may take.
    fn bounds(&self) -> Bounds;

    /// Whom its guest works for: this request alone, or (`is_shared`) others, too.
    fn guest(&self, is_shared: bool) -> Arc<GuestContext>;

    /// Something that a shared instance keeps while it works for the request, also after it has answered.
    fn keep(&self) -> Box<dyn Any + Send + Sync>;

    /// The CPU time of a guest that has this request alone.
    fn metered_by(&self, meter: Arc<Meter>);

    /// The guest went on after its answer had begun, and did not end by itself; why.
    fn ended_late(&self, why: String);
}

/// Why no guest answered.
pub enum Unanswered {
    /// The program answers no HTTP requests.
    NotHttp,
    /// The request's time was up.
    TimedOut,
    /// The guest was ended, or answered with an error; why.
    Failed(String),
}

impl From<NoAnswer> for Unanswered {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::TimedOut => Self::TimedOut,
            NoAnswer::Failed(why) => Self::Failed(why),
        }
    }
}

/// The guest that made a response, which may still be making its body. Dropping it ends a guest that has this request
/// alone.
pub struct AnsweringGuest(Instance);

enum Instance {
    /// It has this request alone, and goes on in a task if it has not ended.
    Own {
        completion: Arc<Completion>,
        task: AbortOnDrop,
    },
    /// It answers others, too.
    Shared(RequestGuard),
}

impl AnsweringGuest {
    /// Is it the end of the guest, and not of the answer, that has come?
    pub fn is_broken(&self) -> bool {
        match &self.0 {
            Instance::Own { completion, .. } => completion.is_broken(),
            Instance::Shared(guard) => guard.is_broken(),
        }
    }

    /// Lets it go on: its answer was sent.
    pub fn let_go(&mut self) {
        if let Instance::Own { task, .. } = &mut self.0 {
            task.disarm();
        }
    }

    /// Why its answer is not whole. `None`: its task is about to tell ([`Caller::ended_late`]).
    pub fn why_broken(&mut self) -> Option<String> {
        match &mut self.0 {
            Instance::Own { completion, task } if completion.is_broken() => {
                task.disarm();
                None
            }
            Instance::Own { .. } => Some("it left its answer unfinished".to_owned()),
            Instance::Shared(guard) => Some(guard.end()),
        }
    }
}

/// The task of a guest that goes on, if it does.
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
    /// Lets a guest answer `request`: returns as soon as the guest has decided on the response's head. Dropping the
    /// future ends a guest that has this request alone.
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
                let state = state.map_err(|error| Unanswered::Failed(error.to_string()))?;
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

/// Lets a guest that has one request alone run until it has decided on the response's head, or ends. One that goes on
/// after that does so in a task of its own, within what is left of its time `limit`.
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
            Some(GuestEnd::Trap(why)) => return Err(Unanswered::Failed(why)),
            Some(GuestEnd::Exit(code)) => match response.try_recv() {
                Ok(response) => (response, None),
                Err(_) => {
                    return Err(Unanswered::Failed(format!("ended with exit code {code} before it answered")));
                }
            },
        },
        Ok(response) = &mut response => {
            let caller = caller.clone();
            let task = tokio::spawn(async move {
                let end = guest.await.unwrap_or_else(|| GuestEnd::timed_out(limit.unwrap_or_default()));
                if let GuestEnd::Trap(why) = end {
                    caller.ended_late(why);
                }
            });
            (response, Some(task.abort_handle()))
        }
    };
    let task = AbortOnDrop(task);
    match response {
        Ok(response) => Ok((response, AnsweringGuest(Instance::Own { completion, task }))),
        Err(error) => {
            let error = journal::shortened(format_args!("{error:?}"), WORDS);
            Err(Unanswered::Failed(format!("answered with the error {error}")))
        }
    }
}
