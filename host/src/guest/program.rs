//! Loaded code becomes a program: linked to what it imports, ready to be instantiated.

use super::code_memory::{Header, loading};
use super::engines::Engines;
use super::http_p3::Service;
use super::pool::Place;
use super::state::State;
use super::{clock, link, wasip1};
use std::fs::File;
use std::mem;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use wasm_sock_engine::InstanceCost;
use wasmtime::component::Component;
use wasmtime::{Engine, InstancePre, Linker, Module, Precompiled};
use wasmtime_wasi::{p2, p3};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

/// Loaded code, not linked to anything yet.
#[derive(Clone)]
pub struct Code {
    pub unit: Unit,
    /// What an instance of it takes.
    cost: InstanceCost,
}

/// What was compiled.
#[derive(Clone)]
pub enum Unit {
    Core(Module),
    Component(Component),
}

/// A guest that can be run, any number of times.
pub struct Program {
    guest: Arc<Guest>,
    /// The artifact that it was loaded from.
    artifact: File,
    /// What an instance of it takes.
    pub cost: InstanceCost,
    /// Tells it from all other programs of this process.
    number: u64,
    succession: Succession,
}

/// Code that is linked to what it imports.
pub enum Guest {
    /// A core module of WASI 0.1 with `_start`.
    Core(InstancePre<State>),
    /// A component that exports `wasi:cli/run` 0.2.
    Command(p2::bindings::CommandPre<State>),
    /// A component that exports `wasi:cli/run` 0.3.
    AsyncCommand(p3::bindings::CommandPre<State>),
    /// A component that exports `wasi:http/incoming-handler` 0.2.
    Proxy(ProxyPre<State>),
    /// A component that exports `wasi:http/handler` 0.3.
    Service(Arc<Service>),
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
            guest: Arc::new(Guest::link(code)?),
            artifact,
            cost: code.cost,
            number: LINKED.fetch_add(1, Relaxed),
            succession: Succession::default(),
        })
    }

    /// What to make the next instance of, and its place if that is in a pool.
    pub fn guest(&self, engines: &Engines) -> (Arc<Guest>, Option<Place>) {
        let cold = (self.guest.clone(), None);
        let is_plain = Engine::same(self.guest.engine(), &engines.plain);
        if !is_plain || !self.succession.is_warm() {
            return cold;
        }
        let Some(place) = engines.place() else {
            return cold;
        };
        let linked = |engine: &Engine| {
            // SAFETY: it was loaded from this very file, of which nobody else has the descriptor.
            let code = unsafe { Code::load(engine, &self.artifact) };
            Guest::link(&code.ok()?).ok()
        };
        match place.guest(self.number, linked) {
            Some(guest) => (guest, Some(place)),
            None => cold,
        }
    }

    /// What kind of guest it is, in the words of the documentation.
    pub fn kind(&self) -> &'static str {
        match *self.guest {
            Guest::Core(_) => "core module (WASI 0.1)",
            Guest::Command(_) => "command (WASI 0.2)",
            Guest::AsyncCommand(_) => "command (WASI 0.3)",
            Guest::Proxy(_) => "HTTP (WASI 0.2)",
            Guest::Service(_) => "HTTP (WASI 0.3)",
        }
    }

    /// Does it answer HTTP requests? Else it reads and writes bytes.
    pub fn is_http(&self) -> bool {
        matches!(*self.guest, Guest::Proxy(_) | Guest::Service(_))
    }
}

impl Code {
    /// # Safety
    /// The file must hold what the compiler made, unchanged, and stay so: see [`Module::deserialize`].
    ///
    /// # Errors
    /// When it was made by another engine, with other settings, or is damaged.
    pub unsafe fn load(engine: &Engine, file: &File) -> wasmtime::Result<Self> {
        let Some(header) = Header::read(file) else {
            wasmtime::bail!("not a compiled WebAssembly module, or only the beginning of one");
        };
        if header.cost.held == 0 {
            wasmtime::bail!("made by an earlier version");
        }
        let unit = loading(file, &header, || match header.kind {
            Precompiled::Module => {
                // SAFETY: the caller upholds it.
                unsafe { Module::deserialize_open_file(engine, file.try_clone()?) }.map(Unit::Core)
            }
            Precompiled::Component => {
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                // SAFETY: the caller upholds it.
                unsafe { Component::deserialize_file(engine, path) }.map(Unit::Component)
            }
        })?;
        let cost = header.cost;
        Ok(Self { unit, cost })
    }

    /// What it imports: functions of WASI 0.1, or interfaces.
    pub fn imports(&self) -> Vec<String> {
        match &self.unit {
            Unit::Core(module) => module
                .imports()
                .map(|import| format!("{}.{}", import.module(), import.name()))
                .collect(),
            Unit::Component(component) => component
                .component_type()
                .imports(component.engine())
                .map(|(name, _)| name.to_owned())
                .collect(),
        }
    }
}

impl Guest {
    fn link(code: &Code) -> Result<Self, String> {
        let (engine, guest) = match &code.unit {
            Unit::Core(module) => (module.engine(), link_core(module)?),
            Unit::Component(component) => (component.engine(), link_component(component, code.cost)?),
        };
        if let Some(ticks) = clock::start(engine) {
            // The engine of the process, and not of a pool: it stays.
            mem::forget(ticks);
        }
        Ok(guest)
    }

    /// The engine that it was linked for.
    pub fn engine(&self) -> &Engine {
        match self {
            Self::Core(pre) => pre.module().engine(),
            Self::Command(pre) => pre.engine(),
            Self::AsyncCommand(pre) => pre.engine(),
            Self::Proxy(pre) => pre.engine(),
            Self::Service(service) => service.engine(),
        }
    }
}

fn link_core(module: &Module) -> Result<Guest, String> {
    if module
        .get_export("_start")
        .and_then(|export| export.func().cloned())
        .is_none()
    {
        return Err("exports no function `_start`: it was built as a library, not as a program".into());
    }
    let mut linker = Linker::new(module.engine());
    // A module may import the same function any number of times: Go's and AssemblyScript's do.
    let mut defined = Vec::new();
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        if defined.contains(&(from, name)) {
            continue;
        }
        let known = wasip1::MODULES.contains(&from)
            && wasip1::define(&mut linker, from, name).map_err(|e| format!("{e:#}"))?;
        defined.push((from, name));
        if !known {
            return Err(format!(
                "imports {}.{}, which is not part of WASI 0.1 (which target was it built for? wasm32-wasip1 and wasm32-wasip2 work)",
                import.module(),
                import.name()
            ));
        }
    }
    linker
        .instantiate_pre(module)
        .map(Guest::Core)
        .map_err(|e| format!("cannot be linked: {e:#}"))
}

/// What a component may export to be served. One that exports several is served as the first.
#[derive(Clone, Copy)]
enum World {
    Service,
    Proxy,
    AsyncCommand,
    Command,
}

const WORLDS: [(&str, World); 4] = [
    ("wasi:http/handler@0.3.", World::Service),
    ("wasi:http/incoming-handler@0.2.", World::Proxy),
    ("wasi:cli/run@0.3.", World::AsyncCommand),
    ("wasi:cli/run@0.2.", World::Command),
];

fn world(exports: &[&str]) -> Result<World, String> {
    let exported = |prefix| exports.iter().any(|name| name.starts_with(prefix));
    if let Some((_, world)) = WORLDS.iter().find(|(prefix, _)| exported(*prefix)) {
        return Ok(*world);
    }
    Err(match exports.iter().find(|name| name.starts_with("wasi:")) {
        Some(name) => format!(
            "exports {name}, which cannot be served: wasi:cli/run and wasi:http/incoming-handler of WASI 0.2 can, and wasi:cli/run and wasi:http/handler of 0.3"
        ),
        None => {
            "exports neither wasi:cli/run nor an HTTP handler: it was built as a library, not as a program".into()
        }
    })
}

fn link_component(component: &Component, cost: InstanceCost) -> Result<Guest, String> {
    let engine = component.engine();
    let ty = component.component_type();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    let world = world(&exports)?;
    let mut linker = wasmtime::component::Linker::new(engine);
    // Parts of a component may ask for one interface in several versions, all of which are one to the linker.
    let mut defined = Vec::new();
    for (import, _) in ty.imports(engine) {
        let interface = link::interface(import);
        if interface.is_some() && defined.contains(&interface) {
            continue;
        }
        defined.push(interface);
        if !link::define(&mut linker, import).map_err(|e| format!("{e:#}"))? {
            return Err(format!("imports {import}, which this host does not provide"));
        }
    }
    let pre = linker.instantiate_pre(component);
    let program = pre.and_then(|pre| {
        Ok(match world {
            World::Service => Guest::Service(Service::new(ServicePre::new(pre)?, cost)),
            World::Proxy => Guest::Proxy(ProxyPre::new(pre)?),
            World::AsyncCommand => Guest::AsyncCommand(p3::bindings::CommandPre::new(pre)?),
            World::Command => Guest::Command(p2::bindings::CommandPre::new(pre)?),
        })
    });
    program.map_err(|e| format!("cannot be linked: {e:#}"))
}
