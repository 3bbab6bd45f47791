//! State machine of a request to a shared instance of WASI 0.3: queued, taken, answered, released; time-outs.
//!
//! ```text
//!  push      an instance     the guest returns     the guard is dropped:
//!            takes it        a response            the body was sent
//! ──────► QUEUED ──────► TAKEN ──────► ANSWERED ──────► RELEASED
//!            │             │                               ▲
//!            │             │ the instance ends: FAILED ────┤
//!            └─────────────┴─ its time is over: TIMED OUT ─┘  (the instance is drained)
//! ```
//!
//! From TAKEN to RELEASED it occupies a slot of its instance, which has `concurrency` slots. A response that was
//! returned but not yet sent still occupies one.

use super::handle::InstanceHandle;
use crate::runtime::outcome::{Cause, describe};
use crate::wasi::GuestContext;
use ::http::{Request, Response};
use futures::channel::oneshot;
use std::sync::atomic::{AtomicBool, Ordering::Acquire, Ordering::Release};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;

/// Limits of a shared instance and of each of its requests.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Requests that one instance answers before it is ended.
    pub reuse: u32,
    /// Requests that one instance answers at the same time.
    pub concurrency: u32,
    /// Wall-clock time of one request.
    pub timeout: Option<Duration>,
    /// CPU time of one request; the limit of an instance is this times the requests that it has taken.
    pub cpu_time: Option<Duration>,
}

/// Why a request has no response.
pub enum NoAnswer {
    TimedOut,
    /// The guest was ended, or answered with an error; why.
    Failed(Cause),
}

/// What the server counts for an instance that works, also when no request of it is being answered. Held for each of
/// its requests, and after the last one until its work is done. Dropped while it goes on: the host exits.
pub trait InstanceActivity: Send + Sync {
    /// The guest goes on after its answers (*post-return*), and is counted as in flight from here on.
    fn goes_on(&mut self);

    /// It no longer does: it is done, or was ended for that cause.
    fn ends(&mut self, cause: Option<&Cause>);
}

/// See [`InstanceActivity`].
pub type ActivityToken = Box<dyn InstanceActivity>;

/// Where the guest's response goes.
pub type ResponseSender = oneshot::Sender<wasmtime::Result<Response<WasiBody>>>;

/// The other end of a [`ResponseSender`].
pub type ResponseReceiver = oneshot::Receiver<wasmtime::Result<Response<WasiBody>>>;

/// A request that waits for an instance.
pub struct QueuedRequest {
    pub request: Request<WasiBody>,
    pub response: ResponseSender,
    pub slot: Arc<RequestSlot>,
    pub bounds: Bounds,
    /// The context for a new instance, if one is started for this request.
    pub guest: Arc<GuestContext>,
    pub activity: ActivityToken,
}

/// The slot of one request in an instance, shared by the request's task and the instance, which may run in two
/// threads.
pub struct RequestSlot {
    deadline: Option<Instant>,
    /// The instance that took it, or was started for it.
    instance: OnceLock<Arc<InstanceHandle>>,
    /// The request no longer needs its instance.
    is_released: AtomicBool,
}

impl RequestSlot {
    /// The slot of a request that is queued now; `timeout` includes the time in the queue.
    pub fn new(timeout: Option<Duration>) -> Arc<Self> {
        Arc::new(Self {
            deadline: timeout.map(|timeout| Instant::now() + timeout),
            instance: OnceLock::new(),
            is_released: AtomicBool::new(false),
        })
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Sets the instance that answers this request, unless it is set.
    pub fn assign(&self, instance: &Arc<InstanceHandle>) {
        self.instance.get_or_init(|| instance.clone());
    }

    /// Waits for the response, which arrives through `response`.
    ///
    /// # Errors
    /// See [`NoAnswer`].
    pub async fn outcome(&self, response: ResponseReceiver) -> Result<Response<WasiBody>, NoAnswer> {
        let Some(deadline) = self.deadline else {
            return self.answer(response).await;
        };
        let outcome = timeout_at(deadline, self.answer(response)).await;
        outcome.unwrap_or_else(|_| {
            self.time_out();
            Err(NoAnswer::TimedOut)
        })
    }

    /// As [`Self::outcome`], without a deadline.
    async fn answer(&self, response: ResponseReceiver) -> Result<Response<WasiBody>, NoAnswer> {
        match response.await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) if error.is::<ErrorCode>() => {
                let why = format!("answered with the error {}", describe(&error));
                Err(NoAnswer::Failed(Cause::trap(why)))
            }
            // Its instance ended, and is about to report why.
            _ => Err(NoAnswer::Failed(match self.instance.get() {
                Some(instance) => instance.wait_for_end().await.clone(),
                None => Cause::trap("its instance could not be made"),
            })),
        }
    }

    /// The guest did not answer in time. It may still be busy with the request, so it gets no other. The guard is
    /// dropped right after this, which wakes the instance's worker.
    fn time_out(&self) {
        if let Some(instance) = self.instance.get() {
            instance.drain();
        }
    }

    /// `Release`, and `Acquire` below: an instance that sees a timed-out request as released also sees that it is
    /// draining ([`Self::time_out`]), and takes no other request in between.
    fn release(&self) {
        self.is_released.store(true, Release);
        if let Some(instance) = self.instance.get() {
            instance.wake();
        }
    }

    pub fn is_released(&self) -> bool {
        self.is_released.load(Acquire)
    }
}

/// A request that is being answered, held until the body of its response was sent. Releases the request's slot on
/// drop.
pub struct RequestGuard(Arc<RequestSlot>);

impl RequestGuard {
    pub fn new(slot: Arc<RequestSlot>) -> Self {
        Self(slot)
    }

    /// Did the guest end before its response was complete?
    pub fn is_broken(&self) -> bool {
        self.0.instance.get().is_some_and(|instance| instance.is_broken())
    }

    /// Why its guest ended.
    pub fn end(&self) -> Cause {
        let instance = self.0.instance.get();
        let end = instance.and_then(|instance| instance.end());
        end.cloned().unwrap_or_else(|| Cause::trap("its instance is gone"))
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::outcome::GuestEnd;
    use std::future::poll_fn;
    use std::task::Poll;
    use tokio::time::timeout;

    const LONG: Option<Duration> = Some(Duration::from_secs(3600));

    fn failed(outcome: Result<Response<WasiBody>, NoAnswer>) -> String {
        match outcome {
            Err(NoAnswer::Failed(cause)) => cause.why,
            Err(NoAnswer::TimedOut) => panic!("it timed out"),
            Ok(_) => panic!("it was answered"),
        }
    }

    #[tokio::test]
    async fn a_request_whose_instance_ends_learns_why() {
        let (slot, instance) = (RequestSlot::new(LONG), Arc::default());
        slot.assign(&instance);
        let (sender, receiver) = oneshot::channel();
        drop(sender);
        let end = async { instance.finish(&GuestEnd::Trap(Cause::trap("unreachable"))) };
        let (outcome, ()) = tokio::join!(slot.outcome(receiver), end);
        assert_eq!(failed(outcome), "unreachable");
        assert_eq!(RequestGuard::new(slot).end().why, "unreachable");
    }

    #[tokio::test]
    async fn a_request_that_was_never_taken_fails() {
        let slot = RequestSlot::new(None);
        let (sender, receiver) = oneshot::channel();
        drop(sender);
        assert_eq!(failed(slot.outcome(receiver).await), "its instance could not be made");
        assert_eq!(RequestGuard::new(slot).end().why, "its instance is gone");
    }

    #[tokio::test]
    async fn an_error_that_the_guest_returns_is_told() {
        let slot = RequestSlot::new(LONG);
        let (sender, receiver) = oneshot::channel();
        let _ = sender.send(Err(ErrorCode::DestinationNotFound.into()));
        let why = failed(slot.outcome(receiver).await);
        assert!(why.starts_with("answered with the error "), "{why}");
    }

    #[tokio::test]
    async fn a_request_that_times_out_drains_its_instance() {
        let (slot, instance) = (RequestSlot::new(Some(Duration::ZERO)), Arc::<InstanceHandle>::default());
        slot.assign(&instance);
        let (_sender, receiver) = oneshot::channel();
        let outcome = slot.outcome(receiver).await;
        assert!(matches!(outcome, Err(NoAnswer::TimedOut)));
        assert!(instance.is_draining());
    }

    #[test]
    fn an_instance_that_was_started_for_a_request_stays_its_own() {
        let (slot, started, other) = (RequestSlot::new(None), Arc::default(), Arc::default());
        slot.assign(&started);
        slot.assign(&other);
        assert!(Arc::ptr_eq(slot.instance.get().unwrap(), &started));
    }

    #[tokio::test]
    async fn the_guard_releases_the_slot_and_wakes_the_worker() {
        let (slot, instance) = (RequestSlot::new(LONG), Arc::<InstanceHandle>::default());
        slot.assign(&instance);
        let guard = RequestGuard::new(slot.clone());
        let released = poll_fn(|context| {
            instance.register(context.waker());
            match slot.is_released() {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        });
        let release = async { drop(guard) };
        let woken = timeout(Duration::from_secs(10), async { tokio::join!(released, release) }).await;
        assert!(woken.is_ok(), "the worker is not woken");
    }
}
