//! The state of one running guest, the data of its Wasmtime store: WASI context, HTTP context, memory budget.

use super::completion::{BrokenUnlessEnded, Completion};
use super::context::WasiContext;
use super::environment::GuestContext;
use super::handles::{self, HANDLE, held};
use super::hooks::Hooks;
use crate::limits::{Budget, MOST_DESCRIPTORS, Refused};
use crate::net::Stdio;
use std::sync::Arc;
use wasm_sock_engine::InstanceCost;
use wasmtime_wasi::{WasiCtxBuilder, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// Counting this many handles takes some 40 µs, so that for each of them one more timer tick passes before the next
/// count; but no more than [`MOST_TICKS`].
const HANDLES_A_TICK: usize = 4096;
const MOST_TICKS: usize = 16;

/// The state of one guest.
pub struct GuestState {
    /// First field, so that it is dropped before the streams of the guest's response, whose end the client's side
    /// sees.
    completion: Option<BrokenUnlessEnded>,
    pub context: WasiContext,
    http: WasiHttpCtx,
    hooks: Hooks,
    pub budget: Budget,
    /// The connection or datagram behind a core module's descriptors 0 and 1, as long as the guest has not closed or
    /// replaced them.
    pub stdio: Option<Stdio>,
}

impl GuestState {
    /// The state of a guest whose instance takes `cost`. `granted` has the directories that the guest may open.
    ///
    /// # Errors
    /// When the instance exceeds a memory limit.
    pub fn new(
        guest: Arc<GuestContext>,
        cost: InstanceCost,
        stdio: Option<Stdio>,
        granted: Option<WasiCtxBuilder>,
    ) -> Result<Self, Refused> {
        Ok(Self {
            completion: None,
            budget: Budget::new(&guest.config.limits, cost)?,
            hooks: Hooks::new(guest.clone()),
            context: WasiContext::new(guest, stdio.clone(), granted),
            http: WasiHttpCtx::new(),
            stdio,
        })
    }

    /// Counts the guest's handles as memory of the guest; `others` are those in the table of concurrent resources (WASI 0.3). The more
    /// handles there are, the less often they are counted ([`Budget::tick`]).
    ///
    /// # Errors
    /// When the guest exceeds its memory or its number of descriptors.
    pub fn account(&mut self, others: usize) -> Result<(), Refused> {
        let held = self.context.handles().map(held).unwrap_or_default();
        // Granted directories do not count towards the limit.
        if held.descriptors > MOST_DESCRIPTORS + self.context.guest.config.dirs.len() {
            return Err(Refused::Descriptors);
        }
        let ticks = (held.handles + others) / HANDLES_A_TICK;
        let bytes = held.bytes + others * HANDLE;
        self.budget.hold(bytes, ticks.min(MOST_TICKS))
    }

    /// May a component open one more descriptor?
    pub fn has_room(&mut self) -> bool {
        if !handles::are_left() {
            return false;
        }
        let opened = self.context.opened.count();
        let entries = self.ctx().table.iter_mut();
        opened + entries.filter(|entry| handles::is_socket(*entry)).count() < MOST_DESCRIPTORS
    }

    /// Creates the [`Completion`], through which the response's side learns how the guest ended.
    pub fn observe(&mut self) -> Arc<Completion> {
        let completion = Arc::new(Completion::default());
        self.completion = Some(BrokenUnlessEnded(completion.clone()));
        completion
    }
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.context.wasi().ctx()
    }
}

impl WasiHttpView for GuestState {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView {
            hooks: &mut self.hooks,
            table: self.context.wasi().ctx().table,
            ctx: &mut self.http,
        }
    }
}
