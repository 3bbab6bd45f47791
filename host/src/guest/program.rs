//! Loaded code becomes a program: linked to what it imports, ready to be instantiated.

use super::service::Service;
use super::state::State;
use super::{clock, link, wasip1};
use std::sync::{Arc, OnceLock};
use wasm_sock_engine::Calls;
use wasmtime::component::Component;
use wasmtime::{Engine, InstancePre, Linker, Module};
use wasmtime_wasi::{p2, p3};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

/// The engines that load and run the guests of this process.
#[derive(Clone)]
pub struct Engines {
    /// For all but WASI 0.3.
    pub blocking: Engine,
    concurrent: Arc<OnceLock<Engine>>,
}

impl Engines {
    /// # Errors
    /// When the settings make no engine.
    pub fn new() -> wasmtime::Result<Self> {
        Ok(Self {
            blocking: engine(Calls::Blocking)?,
            concurrent: Arc::default(),
        })
    }

    /// The engine for WASI 0.3, made when it is first asked for.
    ///
    /// # Errors
    /// When the settings make no engine.
    pub fn concurrent(&self) -> wasmtime::Result<&Engine> {
        if let Some(engine) = self.concurrent.get() {
            return Ok(engine);
        }
        let engine = engine(Calls::Concurrent)?;
        Ok(self.concurrent.get_or_init(|| engine))
    }
}

/// Stack for one guest and the host functions it calls, in bytes. Reserved, not used.
const STACK: usize = 1 << 20;

fn engine(calls: Calls) -> wasmtime::Result<Engine> {
    let mut config = wasm_sock_engine::config(calls);
    config.async_stack_size(STACK);
    Engine::new(&config)
}

/// Loaded code, not linked to anything yet.
#[derive(Clone)]
pub enum Code {
    Core(Module),
    Component(Component),
}

/// A guest that can be run, any number of times.
pub enum Program {
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

impl Program {
    /// Links `code` to the host functions that it imports.
    ///
    /// # Errors
    /// What it imports and nobody provides, or what it should export and does not.
    pub fn link(code: &Code) -> Result<Self, String> {
        let (engine, program) = match code {
            Code::Core(module) => (module.engine(), link_core(module)?),
            Code::Component(component) => (component.engine(), link_component(component)?),
        };
        clock::start(engine);
        Ok(program)
    }

    /// What kind of guest it is, in the words of the documentation.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Core(_) => "core module (WASI 0.1)",
            Self::Command(_) => "command (WASI 0.2)",
            Self::AsyncCommand(_) => "command (WASI 0.3)",
            Self::Proxy(_) => "HTTP (WASI 0.2)",
            Self::Service(_) => "HTTP (WASI 0.3)",
        }
    }

    /// The engine that it was compiled for.
    pub fn engine(&self) -> &Engine {
        match self {
            Self::Core(pre) => pre.module().engine(),
            Self::Command(pre) => pre.engine(),
            Self::AsyncCommand(pre) => pre.engine(),
            Self::Proxy(pre) => pre.engine(),
            Self::Service(service) => service.engine(),
        }
    }

    /// Does it answer HTTP requests? Else it reads and writes bytes.
    pub fn is_http(&self) -> bool {
        matches!(self, Self::Proxy(_) | Self::Service(_))
    }
}

fn link_core(module: &Module) -> Result<Program, String> {
    if module
        .get_export("_start")
        .and_then(|export| export.func().cloned())
        .is_none()
    {
        return Err(
            "exports no function `_start`: it was built as a library, not as a program".into(),
        );
    }
    let mut linker = Linker::new(module.engine());
    for import in module.imports() {
        let known = import.module() == wasip1::MODULE
            && wasip1::define(&mut linker, import.name()).map_err(|e| format!("{e:#}"))?;
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
        .map(Program::Core)
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
        None => "exports neither wasi:cli/run nor an HTTP handler: it was built as a library, not as a program".into(),
    })
}

fn link_component(component: &Component) -> Result<Program, String> {
    let engine = component.engine();
    let ty = component.component_type();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    let world = world(&exports)?;
    let mut linker = wasmtime::component::Linker::new(engine);
    for (import, _) in ty.imports(engine) {
        if !link::define(&mut linker, import).map_err(|e| format!("{e:#}"))? {
            return Err(format!(
                "imports {import}, which this host does not provide"
            ));
        }
    }
    let pre = linker.instantiate_pre(component);
    let program = pre.and_then(|pre| {
        Ok(match world {
            World::Service => Program::Service(Service::new(ServicePre::new(pre)?)),
            World::Proxy => Program::Proxy(ProxyPre::new(pre)?),
            World::AsyncCommand => Program::AsyncCommand(p3::bindings::CommandPre::new(pre)?),
            World::Command => Program::Command(p2::bindings::CommandPre::new(pre)?),
        })
    });
    program.map_err(|e| format!("cannot be linked: {e:#}"))
}
