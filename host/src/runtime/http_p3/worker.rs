//! The worker task of one shared instance: instantiates it, passes requests to it and ends it.
//!
//! It consists of two nested loops:
//!
//! ```text
//!  supervise   polls the event loop until it is pending, then asks InstanceState::review what to do
//!  └─ Store::run_concurrent         Wasmtime's event loop: runs what the guest can go on with
//!     └─ CallLoop::poll             hands requests to the guest, and sees its calls return
//! ```
//!
//! The inner loop runs inside Wasmtime's event loop, because the guest can be called only there. The outer loop is
//! needed for two reasons. Only it sees that the event loop is pending, which means that all of the guest's tasks
//! wait for something. And a guest that blocks in a host call keeps the inner loop from being polled
//! (https://github.com/bytecodealliance/wasmtime/issues/11869, 11870), and would not be ended in time.

use super::handle::InstanceHandle;
use super::instance::{Decision, InstanceState};
use super::queue::{Taker, ThreadQueue};
use super::request::{Bounds, QueuedRequest, ResponseSender};
use crate::limits::{Meter, Metered};
use crate::runtime::outcome::{GuestEnd, PostReturnTimedOut, RequestTimedOut, end_of};
use crate::runtime::store::store;
use crate::runtime::turns::take_turns;
use crate::sync::lock;
use crate::trace::{self, Mark};
use crate::wasi::{self, GuestState};
use ::http::Request;
use futures::stream::{FuturesUnordered, StreamExt};
use std::future::{pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, sleep_until};
use wasm_sock_engine::InstanceCost;
use wasmtime::component::{Accessor, Func};
use wasmtime::{AsContextMut, Result, Store};
use wasmtime_wasi_http::handler::{Prepared, Proxy};
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::{WasiBody, WasiHttpView as _};

/// The most requests that an instance takes in one poll, before other tasks of its thread are polled.
const MAX_TAKEN_PER_POLL: u32 = 4;

/// The requests of one thread.
pub type Queue = ThreadQueue<QueuedRequest>;

/// What all instances of a guest are created from.
pub struct SharedGuest {
    pub pre: ServicePre<GuestState>,
    /// Memory that an instance takes.
    pub cost: InstanceCost,
}

/// Starts an instance for `request`, in a task of its own.
pub fn start(guest: &Arc<SharedGuest>, queue: &Arc<Queue>, request: QueuedRequest) {
    let worker = Worker::new(guest.clone(), queue.clone(), request.bounds);
    let instance = worker.instance.clone();
    request.slot.assign(&instance);
    let meter = Meter::new(request.guest.history.clone(), guest.cost);
    let life = Metered::new(worker.run(request, meter.clone()), meter.clone());
    // The worker has already reported the end, unless it was never polled.
    tokio::spawn(async move { instance.finish(&take_turns(life, meter).await) });
}

/// What is needed to create an instance and to serve its requests.
struct Worker {
    guest: Arc<SharedGuest>,
    queue: Arc<Queue>,
    instance: Arc<InstanceHandle>,
    /// Used by the two loops alternately, so never contended. (The task moves between threads, which a `RefCell` that
    /// both borrow does not allow.)
    state: Mutex<InstanceState>,
    bounds: Bounds,
}

impl Worker {
    fn new(guest: Arc<SharedGuest>, queue: Arc<Queue>, bounds: Bounds) -> Self {
        let instance = Arc::<InstanceHandle>::default();
        Self {
            guest,
            queue,
            instance: instance.clone(),
            state: Mutex::new(InstanceState::new(instance, bounds)),
            bounds,
        }
    }

    /// Runs the instance from its first request to its end.
    async fn run(self, first: QueuedRequest, meter: Arc<Meter>) -> GuestEnd {
        let mut state = match wasi::state(first.guest.clone(), self.guest.cost, None) {
            Ok(state) => state,
            Err(error) => return GuestEnd::Trap(error.into()),
        };
        let completion = state.observe();
        self.instance.begin(completion.clone());
        let (instance, cpu_time) = (self.instance.clone(), self.bounds.cpu_time);
        let limit = move || cpu_time.map(|limit| limit * instance.taken().max(1));
        let mut store = store(self.guest.pre.engine(), state, &meter, limit);
        let result = self.serve(&mut store, first).await;
        let end = end_of(result.map(|()| 0), &store);
        if let GuestEnd::Exit(_) = end {
            completion.end();
        }
        // Before the store is dropped, which ends the responses that are not complete.
        self.instance.finish(&end);
        lock(&self.state).ended(&end);
        end
    }

    /// Instantiates the guest, and answers requests until the instance ends or is to be ended.
    async fn serve(&self, store: &mut Store<GuestState>, first: QueuedRequest) -> Result<()> {
        let service = self.guest.pre.instantiate_async(&mut *store).await?;
        trace::pass(Mark::Instantiate);
        let function = *service.wasi_http_handler().func_handle().func();
        let proxy = &Proxy::P3(service);
        let answer_requests = async |accessor: &Accessor<GuestState>| {
            let call = |request, response| {
                let prepared = accessor.with(|mut store| {
                    let store = store.as_context_mut();
                    Prepared::new(store, proxy, request, GuestState::http, response)
                });
                // The outer loop handles time-outs.
                async move { prepared?.run(accessor, pending()).await }
            };
            let pushed = pin!(self.queue.pushed());
            let start = |request| start(&self.guest, &self.queue, request);
            let mut call_loop = CallLoop {
                accessor,
                function,
                call,
                calls: FuturesUnordered::new(),
                first: Some(first),
                state: &self.state,
                taker: Taker::new(&self.queue, pushed, start),
            };
            poll_fn(|context| call_loop.poll(context)).await
        };
        self.supervise(pin!(store.run_concurrent(answer_requests))).await
    }

    /// The outer loop. `event_loop` completes when the guest ends.
    async fn supervise(&self, mut event_loop: Pin<&mut impl Future<Output = Result<Result<()>>>>) -> Result<()> {
        let mut timer = pin!(sleep_until(Instant::now()));
        let limit = self.bounds.timeout.unwrap_or_default();
        poll_fn(|context| {
            self.instance.register(context.waker());
            loop {
                if let Poll::Ready(result) = event_loop.as_mut().poll(context) {
                    return Poll::Ready(result.flatten());
                }
                let deadline = match self.decide() {
                    Decision::Poll => continue,
                    Decision::WaitUntil(deadline) => deadline,
                    Decision::Wait => return Poll::Pending,
                    Decision::GuestEnd => return Poll::Ready(Ok(())),
                    Decision::EndPostReturn => return Poll::Ready(Err(PostReturnTimedOut { limit }.into())),
                    Decision::EndTimedOut => return Poll::Ready(Err(RequestTimedOut { limit }.into())),
                };
                if timer.deadline() != deadline {
                    timer.as_mut().reset(deadline);
                }
                ready!(timer.as_mut().poll(context));
            }
        })
        .await
    }

    /// Decides what to do now that the event loop is pending.
    fn decide(&self) -> Decision {
        let mut state = lock(&self.state);
        match state.becomes_quiescent() {
            true => Decision::Poll,
            // The clock is read only here.
            false => state.review(Instant::now()),
        }
    }
}

/// The inner loop.
struct CallLoop<'a, 'p, 'q, Start: Fn(QueuedRequest), Call, Returned> {
    accessor: &'a Accessor<GuestState>,
    /// The guest's function that answers requests.
    function: Func,
    /// Starts a call of that function.
    call: Call,
    /// The calls that have not returned.
    calls: FuturesUnordered<Returned>,
    /// The request that the instance was started for.
    first: Option<QueuedRequest>,
    state: &'a Mutex<InstanceState>,
    taker: Taker<'p, 'q, QueuedRequest, Start>,
}

impl<Start, Call, Returned> CallLoop<'_, '_, '_, Start, Call, Returned>
where
    Start: Fn(QueuedRequest),
    Call: Fn(Request<WasiBody>, ResponseSender) -> Returned,
    Returned: Future<Output = Result<bool>>,
{
    /// Completes when the guest has no more tasks and may take no more requests.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        let mut taken = 0;
        let mut next = self.first.take();
        loop {
            if let Some(request) = next {
                taken += 1;
                self.begin_call(request);
            }
            self.poll_calls(context)?;
            let can_take = self.update_availability(context);
            next = self.poll_next(context, taken);
            if next.is_none() {
                return self.poll_end(context, can_take);
            }
        }
    }

    fn begin_call(&mut self, request: QueuedRequest) {
        lock(self.state).take(request.slot, request.activity);
        self.calls.push((self.call)(request.request, request.response));
    }

    /// Removes the calls that have returned.
    ///
    /// # Errors
    /// When one of them trapped.
    fn poll_calls(&mut self, context: &mut Context<'_>) -> Result<()> {
        while let Poll::Ready(Some(returned)) = self.calls.poll_next_unpin(context) {
            returned?;
        }
        Ok(())
    }

    /// Updates whether the instance is available to the queue. Returns whether it may take another request, now or
    /// later.
    fn update_availability(&mut self, context: &mut Context<'_>) -> bool {
        let is_ready = self.accessor.poll_ready_for_concurrent_call(self.function, context);
        let (can_take, is_available) = {
            let state = lock(self.state);
            let can_take = is_ready.is_ready() && state.can_take();
            (can_take, can_take && (self.calls.is_empty() || state.is_quiescent()))
        };
        self.taker.set_available(is_available);
        can_take
    }

    /// The next request, if it can be taken now; otherwise the task is woken when there is one.
    fn poll_next(&mut self, context: &mut Context<'_>, taken: u32) -> Option<QueuedRequest> {
        if !self.taker.is_available() {
            return None;
        }
        if taken == MAX_TAKEN_PER_POLL {
            // Other tasks are polled first.
            context.waker().wake_by_ref();
            return None;
        }
        self.taker.poll_next(context)
    }

    fn poll_end(&mut self, context: &mut Context<'_>, can_take: bool) -> Poll<Result<()>> {
        if !self.calls.is_empty() {
            return Poll::Pending;
        }
        let is_post_return = self.accessor.poll_no_interesting_tasks(context).is_pending();
        lock(self.state).calls_returned(is_post_return);
        match is_post_return || can_take {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    }
}
