//! What the host keeps for one running guest: all that the guest can touch.

use super::budget::{Budget, Refused};
use super::context::{Context, StateError};
use super::environment::Who;
use super::handles::{HANDLE, MOST_DESCRIPTORS, held};
use super::pool::Place;
use super::stdio::Stdio;
use ::http::{Request, Response};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use wasm_sock_engine::InstanceCost;
use wasmtime_wasi::{WasiCtxView, WasiView};
use wasmtime_wasi_http::{
    Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, WasiHttpView,
};

/// For how many handles one more tick passes before they are looked at again, which takes some 40 µs, and how
/// many at most.
const HANDLES_A_TICK: usize = 4096;
const MOST_TICKS: usize = 16;

/// The state of one guest.
pub struct State {
    /// Dropped before the streams of the guest's answer are, which makes them end.
    fate: Option<BrokenUnlessEnded>,
    pub context: Context,
    http: WasiHttpCtx,
    hooks: Hooks,
    pub budget: Budget,
    /// Its place, if its instance comes from the pool.
    pub place: Option<Place>,
    /// What a core module's descriptors 0 and 1 are, as long as they are what they were at its start.
    pub stdio: Option<Stdio>,
}

impl State {
    /// The state for a guest that works for `who`, and takes so much to begin with. One without `stdio` has
    /// nothing to read; what it prints is logged.
    ///
    /// # Errors
    /// When a granted directory cannot be opened, or its instance takes more than it may have.
    pub fn new(who: Arc<Who>, cost: InstanceCost, stdio: Option<Stdio>) -> Result<Self, StateError> {
        Ok(Self {
            fate: None,
            budget: Budget::new(&who.config.limits, cost)?,
            context: Context::new(who, stdio.clone())?,
            http: WasiHttpCtx::new(),
            hooks: Hooks,
            place: None,
            stdio,
        })
    }

    /// Counts what the host holds for the guest, `others` of its handles among it, into its memory. The more
    /// handles there are, the less often ([`Budget::tick`]).
    ///
    /// # Errors
    /// When that is more than it may have, in bytes or in descriptors.
    pub fn account(&mut self, others: usize) -> Result<(), Refused> {
        let held = self.context.handles().map(held).unwrap_or_default();
        // What was granted comes on top of what a component may open.
        if held.descriptors > MOST_DESCRIPTORS + self.context.who.config.dirs.len() {
            return Err(Refused::Descriptors);
        }
        let ticks = (held.handles + others) / HANDLES_A_TICK;
        let bytes = held.bytes + others * HANDLE;
        self.budget.hold(bytes, ticks.min(MOST_TICKS))
    }

    /// Lets others see how the guest ended.
    pub fn observe(&mut self) -> Arc<Fate> {
        let fate = Arc::new(Fate::default());
        self.fate = Some(BrokenUnlessEnded(fate.clone()));
        fate
    }
}

/// Whether a guest whose answer has no more to it has finished it: the streams of an answer end
/// alike when their guest is done and when it is gone.
#[derive(Default)]
pub struct Fate {
    ended: AtomicBool,
    broken: AtomicBool,
}

impl Fate {
    /// The guest did all that it wanted to do.
    pub fn end(&self) {
        self.ended.store(true, Relaxed);
    }

    /// Was the guest's end not its own?
    pub fn is_broken(&self) -> bool {
        self.broken.load(Relaxed)
    }
}

struct BrokenUnlessEnded(Arc<Fate>);

impl Drop for BrokenUnlessEnded {
    fn drop(&mut self) {
        if !self.0.ended.load(Relaxed) {
            self.0.broken.store(true, Relaxed);
        }
    }
}

/// The most that a guest hands over of an answer's body at once, in bytes.
const BODY_CHUNK: usize = 32 * 1024;

/// How many of those wait for the client.
const BODY_CHUNKS: usize = 1;

/// What `wasi:http` asks of its host.
struct Hooks;

impl WasiHttpHooks for Hooks {
    /// Requests of guests need TLS and so certificates: they are refused, whatever was granted.
    fn send_request(
        &mut self,
        _: Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<(Response<WasiBody>, Io), Error>> + Send> {
        Box::new(async { Err(Error::HttpRequestDenied) })
    }

    fn p2_outgoing_body_buffer_chunks(&mut self) -> usize {
        BODY_CHUNKS
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }

    fn p3_outgoing_body_chunk_size(&mut self) -> usize {
        BODY_CHUNK
    }
}

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: self.context.wasi().ctx().table,
            ctx: &mut self.http,
        }
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.context.wasi().ctx()
    }
}
