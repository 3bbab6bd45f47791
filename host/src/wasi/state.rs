//! What the host keeps for one running guest: all that the guest can touch.

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

/// For how many handles one more tick passes before they are looked at again, which takes some 40 µs, and how
/// many at most.
const HANDLES_A_TICK: usize = 4096;
const MOST_TICKS: usize = 16;

/// The state of one guest.
pub struct GuestState {
    /// Dropped before the streams of the guest's answer are, which makes them end.
    completion: Option<BrokenUnlessEnded>,
    pub context: WasiContext,
    http: WasiHttpCtx,
    hooks: Hooks,
    pub budget: Budget,
    /// What a core module's descriptors 0 and 1 are, as long as they are what they were at its start.
    pub stdio: Option<Stdio>,
}

impl GuestState {
    /// The state for a guest that works for `guest`, and takes so much to begin with. `granted` has the directories
    /// that it may open.
    ///
    /// # Errors
    /// When its instance takes more than it may have.
    pub fn new(
        guest: Arc<GuestContext>,
        cost: InstanceCost,
        stdio: Option<Stdio>,
        granted: Option<WasiCtxBuilder>,
    ) -> Result<Self, Refused> {
        Ok(Self {
            completion: None,
            budget: Budget::new(&guest.config.limits, cost)?,
            context: WasiContext::new(guest, stdio.clone(), granted),
            http: WasiHttpCtx::new(),
            hooks: Hooks,
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
        if held.descriptors > MOST_DESCRIPTORS + self.context.guest.config.dirs.len() {
            return Err(Refused::Descriptors);
        }
        let ticks = (held.handles + others) / HANDLES_A_TICK;
        let bytes = held.bytes + others * HANDLE;
        self.budget.hold(bytes, ticks.min(MOST_TICKS))
    }

    /// May a component have one more descriptor?
    pub fn has_room(&mut self) -> bool {
        if !handles::are_left() {
            return false;
        }
        let opened = self.context.opened.count();
        let entries = self.ctx().table.iter_mut();
        opened + entries.filter(|entry| handles::is_socket(*entry)).count() < MOST_DESCRIPTORS
    }

    /// Lets others see how the guest ended.
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
