//! A program: linked code, ready to be instantiated any number of times, in a pool when it runs often.

use super::code::Code;
use super::engines::Engines;
use super::linked::Linked;
use super::pool::PoolSlot;
use std::fs::File;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use wasm_sock_engine::InstanceCost;
use wasmtime::Engine;

/// Linked code that can be instantiated any number of times.
pub struct Program {
    guest: Arc<Linked>,
    /// The artifact that it was loaded from.
    artifact: Arc<File>,
    /// Memory that an instance takes.
    pub cost: InstanceCost,
    /// Identifies the program within this process.
    number: u64,
    succession: Succession,
}

/// Runs in quick succession after which a program's instances come from a pool: creating a pool takes as long as some
/// ten instances.
const WARM: u32 = 32;

/// The longest pause between two runs in quick succession.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// Counts runs that come in quick succession.
#[derive(Default)]
struct Succession {
    /// Milliseconds from the start of the process to the last run.
    last: AtomicU64,
    runs: AtomicU32,
}

impl Succession {
    /// Counts a run. Returns whether there were [`WARM`] of them. (Two at the same time may count as one.)
    fn is_warm(&self) -> bool {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let now = START.elapsed().as_millis() as u64;
        let before = self.last.swap(now, Relaxed);
        if now.saturating_sub(before) > MAX_PAUSE.as_millis() as u64 {
            self.runs.store(0, Relaxed);
        }
        let runs = self.runs.load(Relaxed);
        if runs < WARM {
            self.runs.store(runs + 1, Relaxed);
        }
        runs >= WARM
    }
}

impl Program {
    /// Links `code`, which was loaded from `artifact`, to the host functions that it imports.
    ///
    /// # Errors
    /// A missing import (unknown to the host), or a missing export.
    pub fn link(code: &Code, artifact: File) -> Result<Self, String> {
        static LINKED: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            guest: Arc::new(Linked::link(code)?),
            artifact: Arc::new(artifact),
            cost: code.cost,
            number: LINKED.fetch_add(1, Relaxed),
            succession: Succession::default(),
        })
    }

    /// The same program, for new settings: its instances are not shared with requests of the former ones.
    pub fn renewed(program: &Arc<Self>) -> Arc<Self> {
        let Linked::Service(service) = &*program.guest else {
            // Each of its instances serves one client.
            return program.clone();
        };
        Arc::new(Self {
            guest: Arc::new(Linked::Service(service.renewed())),
            artifact: program.artifact.clone(),
            cost: program.cost,
            number: program.number,
            succession: Succession::default(),
        })
    }

    /// The linked code for the next instance, and the instance's slot if it is in a pool.
    pub fn guest(&self, engines: &Engines) -> (Arc<Linked>, Option<PoolSlot<Linked>>) {
        let cold = (self.guest.clone(), None);
        let is_plain = Engine::same(self.guest.engine(), &engines.plain);
        if !is_plain || !self.succession.is_warm() {
            return cold;
        }
        let Some(slot) = engines.slot() else {
            return cold;
        };
        let linked = |engine: &Engine| {
            // SAFETY: it was loaded from this file before, and no other process has its descriptor.
            let code = unsafe { Code::load(engine, &self.artifact) };
            Linked::link(&code.ok()?).ok()
        };
        match slot.get_or_link(self.number, linked) {
            Some(guest) => (guest, Some(slot)),
            None => cold,
        }
    }

    /// The kind of guest, as the documentation calls it.
    pub fn kind(&self) -> &'static str {
        match *self.guest {
            Linked::Core(_) => "core module (WASI 0.1)",
            Linked::Command(_) => "command (WASI 0.2)",
            Linked::AsyncCommand(_) => "command (WASI 0.3)",
            Linked::Proxy(_) => "HTTP (WASI 0.2)",
            Linked::Service(_) => "HTTP (WASI 0.3)",
        }
    }

    /// Does it answer HTTP requests? Otherwise it reads and writes bytes.
    pub fn is_http(&self) -> bool {
        matches!(*self.guest, Linked::Proxy(_) | Linked::Service(_))
    }
}
