//! A program is ready to be instantiated, any number of times.

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

/// A guest that can be run, any number of times.
pub struct Program {
    guest: Arc<Linked>,
    /// The artifact that it was loaded from.
    artifact: File,
    /// What an instance of it takes.
    pub cost: InstanceCost,
    /// Tells it from all other programs of this process.
    number: u64,
    succession: Succession,
}

/// How often a program is run in quick succession before its instances come from a pool: making one
/// takes as long as some ten instances.
const WARM: u32 = 32;

/// What is longer ago than that is no quick succession.
const QUICK: Duration = Duration::from_secs(1);

/// Counts runs that come in quick succession.
#[derive(Default)]
struct Succession {
    /// Milliseconds from the start of the process to the last run.
    last: AtomicU64,
    runs: AtomicU32,
}

impl Succession {
    /// There is one more; have there been enough of them? Two at the same time may count as one.
    fn is_warm(&self) -> bool {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        let now = START.elapsed().as_millis() as u64;
        let before = self.last.swap(now, Relaxed);
        if now.saturating_sub(before) > QUICK.as_millis() as u64 {
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
    /// What it imports and nobody provides, or what it should export and does not.
    pub fn link(code: &Code, artifact: File) -> Result<Self, String> {
        static LINKED: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            guest: Arc::new(Linked::link(code)?),
            artifact,
            cost: code.cost,
            number: LINKED.fetch_add(1, Relaxed),
            succession: Succession::default(),
        })
    }

    /// What to make the next instance of, and its slot if that is in a pool.
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
            // SAFETY: it was loaded from this very file, of which nobody else has the descriptor.
            let code = unsafe { Code::load(engine, &self.artifact) };
            Linked::link(&code.ok()?).ok()
        };
        match slot.get_or_link(self.number, linked) {
            Some(guest) => (guest, Some(slot)),
            None => cold,
        }
    }

    /// What kind of guest it is, in the words of the documentation.
    pub fn kind(&self) -> &'static str {
        match *self.guest {
            Linked::Core(_) => "core module (WASI 0.1)",
            Linked::Command(_) => "command (WASI 0.2)",
            Linked::AsyncCommand(_) => "command (WASI 0.3)",
            Linked::Proxy(_) => "HTTP (WASI 0.2)",
            Linked::Service(_) => "HTTP (WASI 0.3)",
        }
    }

    /// Does it answer HTTP requests? Else it reads and writes bytes.
    pub fn is_http(&self) -> bool {
        matches!(*self.guest, Linked::Proxy(_) | Linked::Service(_))
    }
}
