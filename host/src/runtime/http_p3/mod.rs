//! HTTP requests in shared instances of a WASI 0.3 guest (`wasi:http/handler`): one instance answers several
//! requests, one after the other (`reuse`) and at the same time (`concurrency`).
//!
//! Requests wait in one queue for each thread. An instance takes the next one when all of its tasks wait for
//! something. So no request waits for a guest that computes: a new instance is started for it.
//!
//! ```text
//!  Service::answer ──► ThreadQueue ──► Worker ──► the guest's `handle`
//!   (request.rs:        (queue.rs)     (worker.rs; the instance's life is in instance.rs)
//!    the request's life)                   │
//!        ▲                                 │
//!        └────── response, RequestGuard ◄──┘
//! ```
//!
//! # Why not `wasmtime_wasi_http::handler::ProxyHandler`
//!
//! It is the same design, and this uses its parts (`Prepared`, `Proxy`). The whole cannot be used as of
//! version 48 for want of these hooks:
//!
//! 1. **A worker's future cannot be wrapped.** `ProxyHandler::start_worker` gives it to `tokio::spawn` itself.
//!    Here each poll of it has to be measured, and has to start the timer that interrupts guests ([`crate::limits::Metered`]).
//!    And a guest that computes goes on in another thread, with all of its future ([`super::turns::take_turns`]).
//!    `HandlerState::spawn(&self, worker: impl Future<Output = ()> + Send + 'static)` would do, with
//!    `tokio::spawn` as its default. Neither `Store::call_hook` nor the epoch's callback replaces it: they
//!    measure, but cannot move a task.
//! 2. **`HandlerState::instantiate` does not see the request** that the worker is started for: not its
//!    `RequestData`, in which there is what the store is made from (the client, when `reuse` is 1), and whose
//!    caller has to learn of an instance before it lives. `instantiate(&self, first: Option<&RequestData>)` would do.
//! 3. **A worker cannot be told that there is room again.** To it a request is over with its response's
//!    head; here, when the body was sent, so that `concurrency` bounds what is under way. `should_accept_request`
//!    may say `No` for that, but gets no waker with which to be asked again.
//! 4. **A worker takes requests as long as there are any**, in one poll. Other tasks of its thread, connections
//!    among them, would wait for all of them.
//!
//! The rest could be done with `WorkerState` and `WorkerExpiration`, for an allocation more per request (the
//! boxed future of `on_request_start`): one handler for each thread, time-outs that include the wait in the queue,
//! CPU time by requests taken, why an instance ended. Points 1 to 3 are to be asked for upstream; then most
//! of worker.rs and queue.rs can go.

mod handle;
mod instance;
mod queue;
mod request;
mod worker;

pub use request::{ActivityToken, Bounds, InstanceActivity, NoAnswer, RequestGuard};

use crate::sync::lock;
use crate::wasi::{GuestContext, GuestState};
use ::http::{Request, Response};
use futures::channel::oneshot;
use request::{QueuedRequest, RequestSlot};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};
use wasm_sock_engine::InstanceCost;
use wasmtime::Engine;
use wasmtime_wasi_http::WasiBody;
use wasmtime_wasi_http::p3::bindings::ServicePre;
use worker::{Queue, SharedGuest, start};

/// A guest that answers HTTP requests.
pub struct Service {
    guest: Arc<SharedGuest>,
    /// One queue for each thread that serves: requests and instances do not move between threads.
    queues: Mutex<HashMap<ThreadId, Arc<Queue>>>,
}

impl Service {
    pub fn new(pre: ServicePre<GuestState>, cost: InstanceCost) -> Arc<Self> {
        Arc::new(Self {
            guest: Arc::new(SharedGuest { pre, cost }),
            queues: Mutex::default(),
        })
    }

    /// The same guest, with instances of its own.
    pub fn renewed(&self) -> Arc<Self> {
        Arc::new(Self {
            guest: self.guest.clone(),
            queues: Mutex::default(),
        })
    }

    pub fn engine(&self) -> &Engine {
        self.guest.pre.engine()
    }

    /// Lets an instance answer `request`: an available one, or a new one.
    ///
    /// # Errors
    /// See [`NoAnswer`].
    pub async fn answer(
        self: &Arc<Self>,
        request: Request<WasiBody>,
        bounds: Bounds,
        guest: Arc<GuestContext>,
        activity: ActivityToken,
    ) -> Result<(Response<WasiBody>, RequestGuard), NoAnswer> {
        let (sender, receiver) = oneshot::channel();
        let slot = RequestSlot::new(bounds.timeout);
        let guard = RequestGuard::new(slot.clone());
        self.enqueue(QueuedRequest {
            request,
            response: sender,
            slot: slot.clone(),
            bounds,
            guest,
            activity,
        });
        let response = slot.outcome(receiver).await?;
        Ok((response, guard))
    }

    fn enqueue(self: &Arc<Self>, request: QueuedRequest) {
        let mut queues = lock(&self.queues);
        let queue = queues.entry(thread::current().id()).or_default().clone();
        drop(queues);
        if let Some(request) = queue.push(request) {
            start(&self.guest, &queue, request);
        }
    }
}
