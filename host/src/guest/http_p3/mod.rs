//! HTTP requests in instances of a WASI 0.3 guest, which may be shared: one answers several requests,
//! one after the other and at the same time, within bounds.
//!
//! Requests wait in one queue, and an instance takes the next when all that it does waits for
//! something. So no request waits for a guest that computes: a new instance is made for it.

use crate::guest::clock::{Meter, Metered};
use crate::guest::environment::Who;
use crate::guest::run::{End, describe, end_of, store, take_turns, took_longer};
use crate::guest::state::{Fate, State};
use crate::sync::lock;
use crate::trace::{self, Mark};
use ::http::{Request, Response};
use futures::channel::oneshot;
use futures::stream::{FuturesUnordered, StreamExt};
use futures::task::AtomicWaker;
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, ready};
use std::thread::{self, ThreadId};
use std::time::Duration;
use tokio::sync::futures::Notified;
use tokio::sync::{Notify, SetOnce};
use tokio::time::{Instant, sleep_until};
use wasm_sock_engine::InstanceCost;
use wasmtime::component::Accessor;
use wasmtime::{AsContextMut, Engine, Store};
use wasmtime_wasi_http::handler::{Prepared, Proxy};
use wasmtime_wasi_http::p3::bindings::ServicePre;
use wasmtime_wasi_http::p3::bindings::http::types::ErrorCode;
use wasmtime_wasi_http::{WasiBody, WasiHttpView};

/// How long an instance that has nothing to do is kept.
const KEEP: Duration = Duration::from_secs(1);

/// How much later than whoever waits for an answer its instance takes a request for expired.
const SLACK: Duration = Duration::from_millis(50);

/// How many requests an instance takes before other tasks of its thread have their turn.
const AT_ONCE: u32 = 4;

/// What one instance may be used for, and one request may take.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Requests that one instance answers in its life.
    pub reuse: u32,
    /// Requests that one instance answers at the same time.
    pub concurrency: u32,
    /// Wall-clock time of one request.
    pub timeout: Option<Duration>,
    /// CPU time of one request; an instance has as much of it as it answered requests.
    pub cpu_time: Option<Duration>,
}

/// Why there is no answer.
pub enum NoAnswer {
    TimedOut,
    /// The guest was ended, or answered with an error; why.
    Failed(String),
}

/// Something that whoever asks lets an instance keep while it works for a request, also after it has
/// answered.
pub type Keep = Box<dyn Any + Send + Sync>;

/// A guest that answers HTTP requests.
pub struct Service {
    pre: ServicePre<State>,
    /// What an instance takes.
    cost: InstanceCost,
    /// One for each thread that serves: requests and instances stay in theirs.
    lanes: Mutex<HashMap<ThreadId, Arc<Lane>>>,
}

/// The instances of one thread, and the requests that wait for them.
#[derive(Default)]
struct Lane {
    waiting: Mutex<VecDeque<Job>>,
    /// Woken for a request that waits.
    takers: Notify,
    /// Instances that would take a request now.
    available: AtomicUsize,
}

/// A request that waits for an instance.
struct Job {
    request: Request<WasiBody>,
    answer: oneshot::Sender<wasmtime::Result<Response<WasiBody>>>,
    seat: Arc<Seat>,
    bounds: Bounds,
    /// Whom a new instance would work for.
    who: Arc<Who>,
    keep: Keep,
}

/// The place of one request in an instance.
struct Seat {
    deadline: Option<Instant>,
    instance: OnceLock<Arc<Instance>>,
    left: AtomicBool,
}

/// What an instance and its requests know of each other.
#[derive(Default)]
struct Instance {
    seats: Mutex<Vec<Arc<Seat>>>,
    kept: Mutex<Vec<Keep>>,
    /// Requests it took in its life.
    taken: AtomicU32,
    /// It takes no more requests, because one ran out of time in it.
    condemned: AtomicBool,
    /// All that it does waits for something.
    waits: AtomicBool,
    /// It still works for a request that it has answered.
    works_on: AtomicBool,
    changed: AtomicWaker,
    fate: OnceLock<Arc<Fate>>,
    end: SetOnce<String>,
}

/// A request that is being answered: kept until its body was sent.
pub struct Attended(Arc<Seat>);

impl Attended {
    /// Is it the end of the guest, and not of the answer, that has come?
    pub fn is_broken(&self) -> bool {
        let instance = self.0.instance.get();
        let fate = instance.and_then(|instance| instance.fate.get());
        fate.is_some_and(|fate| fate.is_broken())
    }
}

impl Attended {
    /// Why its guest came to an end.
    pub fn end(&self) -> String {
        let instance = self.0.instance.get();
        let end = instance.and_then(|instance| instance.end.get());
        end.map_or_else(|| "its instance is gone".into(), String::clone)
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        self.0.left.store(true, SeqCst);
        if let Some(instance) = self.0.instance.get() {
            instance.changed.wake();
        }
    }
}

impl Service {
    pub fn new(pre: ServicePre<State>, cost: InstanceCost) -> Arc<Self> {
        Arc::new(Self {
            pre,
            cost,
            lanes: Mutex::default(),
        })
    }

    pub fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    /// Lets an instance answer `request`, one that is there or a new one.
    ///
    /// # Errors
    /// See [`NoAnswer`].
    pub async fn answer(
        self: &Arc<Self>,
        request: Request<WasiBody>,
        bounds: Bounds,
        who: Arc<Who>,
        keep: Keep,
    ) -> Result<(Response<WasiBody>, Attended), NoAnswer> {
        let (answer, answered) = oneshot::channel();
        let seat = Arc::new(Seat {
            deadline: bounds.timeout.map(|limit| Instant::now() + limit),
            instance: OnceLock::new(),
            left: AtomicBool::new(false),
        });
        let attended = Attended(seat.clone());
        let job = Job {
            request,
            answer,
            seat: seat.clone(),
            bounds,
            who,
            keep,
        };
        self.give(job);
        let outcome = async {
            match answered.await {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(error)) if error.downcast_ref::<ErrorCode>().is_some() => Err(NoAnswer::Failed(format!(
                    "answered with the error {}",
                    describe(&error)
                ))),
                // Its instance came to an end, and is about to say why.
                _ => Err(NoAnswer::Failed(match seat.instance.get() {
                    Some(instance) => instance.end.wait().await.clone(),
                    None => "its instance could not be made".into(),
                })),
            }
        };
        let outcome = match seat.deadline {
            None => outcome.await,
            Some(deadline) => tokio::time::timeout_at(deadline, outcome)
                .await
                .unwrap_or(Err(NoAnswer::TimedOut)),
        };
        if let (Err(NoAnswer::TimedOut), Some(instance)) = (&outcome, seat.instance.get()) {
            instance.condemned.store(true, SeqCst);
        }
        outcome.map(|response| (response, attended))
    }

    fn give(self: &Arc<Self>, job: Job) {
        let mut lanes = lock(&self.lanes);
        let lane = lanes.entry(thread::current().id()).or_default().clone();
        drop(lanes);
        if lane.available.load(SeqCst) == 0 {
            return self.start(&lane, job);
        }
        lock(&lane.waiting).push_back(job);
        lane.takers.notify_one();
        // The last one that was available may have looked just before.
        self.start_if_none_is_available(&lane);
    }

    fn start_if_none_is_available(self: &Arc<Self>, lane: &Arc<Lane>) {
        if lane.available.load(SeqCst) > 0 {
            return;
        }
        let job = lock(&lane.waiting).pop_front();
        if let Some(job) = job {
            self.start(lane, job);
        }
    }

    /// Makes an instance for `job`, in a task of its own.
    fn start(self: &Arc<Self>, lane: &Arc<Lane>, job: Job) {
        let worker = Worker {
            service: self.clone(),
            lane: lane.clone(),
            instance: Arc::default(),
            is_available: false,
            bounds: job.bounds,
        };
        let meter = Meter::new(job.who.history.clone(), self.cost);
        let instance = worker.instance.clone();
        let _ = job.seat.instance.set(instance.clone());
        let life = Metered::new(worker.live(job, meter.clone()), meter.clone());
        tokio::spawn(async move {
            // Said already, unless it never lived.
            let _ = instance.end.set(why(&take_turns(life, meter).await));
        });
    }
}

impl Lane {
    /// The next request that waits. When there is none, the task is woken for the next.
    fn poll_next_job<'a>(&'a self, context: &mut Context<'_>, mut woken: Pin<&mut Notified<'a>>) -> Option<Job> {
        loop {
            woken.as_mut().enable();
            if let Some(job) = lock(&self.waiting).pop_front() {
                return Some(job);
            }
            if woken.as_mut().poll(context).is_pending() {
                return None;
            }
            woken.set(self.takers.notified());
        }
    }
}

/// One instance, and the loop that feeds it.
struct Worker {
    service: Arc<Service>,
    lane: Arc<Lane>,
    instance: Arc<Instance>,
    is_available: bool,
    bounds: Bounds,
}

impl Worker {
    async fn live(mut self, first: Job, meter: Arc<Meter>) -> End {
        let mut state = match State::new(first.who.clone(), self.service.cost, None) {
            Ok(state) => state,
            Err(error) => return End::Trap(error.to_string()),
        };
        let fate = state.observe();
        let _ = self.instance.fate.set(fate.clone());
        let (instance, cpu_time) = (self.instance.clone(), self.bounds.cpu_time);
        let limit = move || cpu_time.map(|limit| limit * instance.taken.load(SeqCst).max(1));
        let mut store = store(self.service.engine(), state, &meter, limit);
        let result = self.work(&mut store, first).await;
        let end = end_of(result.map(|()| 0), &store);
        if let End::Exit(_) = end {
            fate.end();
        }
        // Before the store is dropped, which ends the answers that it still makes.
        let _ = self.instance.end.set(why(&end));
        end
    }

    /// Instantiates, and answers requests until it may or shall answer no more.
    async fn work(&mut self, store: &mut Store<State>, first: Job) -> wasmtime::Result<()> {
        let service = self.service.pre.instantiate_async(&mut *store).await?;
        trace::pass(Mark::Instantiate);
        let function = *service.wasi_http_handler().func_handle().func();
        let proxy = &Proxy::P3(service);
        let (instance, bounds) = (self.instance.clone(), self.bounds);
        let answer_requests = async |accessor: &Accessor<State>| {
            let mut calls = FuturesUnordered::new();
            let mut next = Some(first);
            let lane = self.lane.clone();
            let mut woken = pin!(lane.takers.notified());
            poll_fn(|context| {
                let mut taken = 0;
                loop {
                    if let Some(job) = next.take() {
                        taken += 1;
                        // It may compute: no other request is taken before it waits.
                        self.instance.waits.store(false, SeqCst);
                        self.instance.take(job.seat.clone(), job.keep);
                        let prepared = accessor.with(|mut store| {
                            let (request, answer) = (job.request, job.answer);
                            let store = store.as_context_mut();
                            Prepared::new(store, proxy, request, State::http, answer)
                        });
                        calls.push(async move { prepared?.run(accessor, std::future::pending()).await });
                    }
                    match calls.poll_next_unpin(context) {
                        Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                        Poll::Ready(Some(Ok(_))) => continue,
                        Poll::Ready(None) | Poll::Pending => {}
                    }
                    let is_ready = accessor.poll_ready_for_concurrent_call(function, context).is_ready();
                    let may_take = is_ready && self.instance.may_take(&bounds);
                    self.set_available(may_take && (calls.is_empty() || self.instance.waits.load(SeqCst)));
                    if self.is_available && taken == AT_ONCE {
                        // Other tasks come first.
                        context.waker().wake_by_ref();
                    } else if self.is_available {
                        next = lane.poll_next_job(context, woken.as_mut());
                        if next.is_some() {
                            continue;
                        }
                    }
                    if !calls.is_empty() {
                        return Poll::Pending;
                    }
                    let works_on = accessor.poll_no_interesting_tasks(context).is_pending();
                    self.instance.works_on.store(works_on, SeqCst);
                    return match works_on || may_take {
                        true => Poll::Pending,
                        false => Poll::Ready(Ok(())),
                    };
                }
            })
            .await
        };
        let mut working = pin!(store.run_concurrent(answer_requests));
        let mut timer = pin!(sleep_until(Instant::now()));
        let mut idle_since = None;
        poll_fn(|context| {
            instance.changed.register(context.waker());
            loop {
                if let Poll::Ready(result) = working.as_mut().poll(context) {
                    return Poll::Ready(result.and_then(|result| result));
                }
                // It may take another request, now that all it does waits.
                if !instance.waits.swap(true, SeqCst) {
                    continue;
                }
                let deadline = match instance.next_deadline(&bounds, &mut idle_since) {
                    Next::Now => continue,
                    Next::At(deadline) => deadline,
                    Next::Whenever => return Poll::Pending,
                    Next::Over(result) => return Poll::Ready(result),
                };
                if timer.deadline() != deadline {
                    timer.as_mut().reset(deadline);
                }
                ready!(timer.as_mut().poll(context));
            }
        })
        .await
    }

    fn set_available(&mut self, is_available: bool) {
        if is_available == self.is_available {
            return;
        }
        self.is_available = is_available;
        if is_available {
            self.lane.available.fetch_add(1, SeqCst);
        } else {
            self.lane.available.fetch_sub(1, SeqCst);
            self.service.start_if_none_is_available(&self.lane);
            // A wake-up that was for this one is for another.
            self.lane.takers.notify_one();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.set_available(false);
        // Requests know their instance, and it knows them.
        lock(&self.instance.seats).clear();
        lock(&self.instance.kept).clear();
    }
}

/// Why an instance that came to this end makes no answer.
fn why(end: &End) -> String {
    match end {
        End::Trap(why) => why.clone(),
        End::Exit(_) => "its instance left before it answered".into(),
    }
}

/// When an instance is to be looked at again.
enum Next {
    Now,
    At(Instant),
    Whenever,
    /// Its time is over.
    Over(wasmtime::Result<()>),
}

impl Instance {
    fn take(self: &Arc<Self>, seat: Arc<Seat>, keep: Keep) {
        lock(&self.kept).push(keep);
        self.taken.fetch_add(1, SeqCst);
        let _ = seat.instance.set(self.clone());
        lock(&self.seats).push(seat);
    }

    fn may_take(&self, bounds: &Bounds) -> bool {
        let taken = self.taken.load(SeqCst);
        taken < bounds.reuse && !self.condemned.load(SeqCst) && lock(&self.seats).len() < bounds.concurrency as usize
    }

    /// Forgets the requests that have left or expired. A request that expired condemns the instance,
    /// which ends with the last of the others.
    fn next_deadline(&self, bounds: &Bounds, idle_since: &mut Option<Instant>) -> Next {
        let now = Instant::now();
        let mut seats = lock(&self.seats);
        let before = seats.len();
        seats.retain(|seat| {
            let expired = seat.deadline.is_some_and(|deadline| deadline + SLACK <= now);
            if expired {
                self.condemned.store(true, SeqCst);
            }
            !expired && !seat.left.load(SeqCst)
        });
        if !seats.is_empty() {
            *idle_since = None;
            if seats.len() < before {
                // There is room for another request.
                return Next::Now;
            }
            let deadlines = seats.iter().filter_map(|seat| seat.deadline);
            return match deadlines.min() {
                Some(deadline) => Next::At(deadline + SLACK),
                None => Next::Whenever,
            };
        }
        if self.condemned.load(SeqCst) {
            let why = took_longer(bounds.timeout.unwrap_or_default());
            return Next::Over(Err(wasmtime::format_err!("one of its requests {why}")));
        }
        let newly = idle_since.is_none();
        let idle_since = *idle_since.get_or_insert(now);
        let works_on = self.works_on.load(SeqCst);
        if !works_on {
            lock(&self.kept).clear();
        }
        let patience = if works_on { bounds.timeout } else { Some(KEEP) };
        match patience.map(|patience| idle_since + patience) {
            _ if newly => Next::Now,
            Some(over) if over <= now => Next::Over(Ok(())),
            Some(over) => Next::At(over),
            None => Next::Whenever,
        }
    }
}
