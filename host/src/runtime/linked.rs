//! Linking: chooses the WIT world by the exports of the code, and defines the WASI functions that it imports.

use super::code::{Code, Unit};
use super::http_p3::Service;
use crate::limits::start_ticks;
use crate::wasi::{self, GuestState};
use std::mem;
use std::sync::Arc;
use wasm_sock_engine::InstanceCost;
use wasmtime::component::Component;
use wasmtime::{Engine, InstancePre, Linker, Module};
use wasmtime_wasi::{p2, p3};
use wasmtime_wasi_http::p2::bindings::ProxyPre;
use wasmtime_wasi_http::p3::bindings::ServicePre;

/// Code that is linked to its imports, ready to be instantiated.
pub enum Linked {
    /// A core module of WASI 0.1 with `_start`.
    Core(InstancePre<GuestState>),
    /// A component that exports `wasi:cli/run` 0.2.
    Command(p2::bindings::CommandPre<GuestState>),
    /// A component that exports `wasi:cli/run` 0.3.
    AsyncCommand(p3::bindings::CommandPre<GuestState>),
    /// A component that exports `wasi:http/incoming-handler` 0.2.
    Proxy(ProxyPre<GuestState>),
    /// A component that exports `wasi:http/handler` 0.3.
    Service(Arc<Service>),
}

impl Linked {
    pub fn link(code: &Code) -> Result<Self, String> {
        let (engine, guest) = match &code.unit {
            Unit::Core(module) => (module.engine(), link_core(module)?),
            Unit::Component(component) => (component.engine(), link_component(component, code.cost)?),
        };
        if let Some(ticks) = start_ticks(engine) {
            // This engine lives as long as the process, unlike that of a pool.
            mem::forget(ticks);
        }
        Ok(guest)
    }

    /// The engine that the code was linked for.
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

fn link_core(module: &Module) -> Result<Linked, String> {
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
        let known = wasi::WASI_0_1.contains(&from)
            && wasi::define_p1(&mut linker, from, name).map_err(|e| format!("{e:#}"))?;
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
        .map(Linked::Core)
        .map_err(|e| format!("cannot be linked: {e:#}"))
}

/// The WIT worlds that can be served. A component that exports several is served as the first.
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

fn link_component(component: &Component, cost: InstanceCost) -> Result<Linked, String> {
    let engine = component.engine();
    let ty = component.component_type();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    let world = world(&exports)?;
    let mut linker = wasmtime::component::Linker::new(engine);
    // Parts of a component may import an interface in several versions, which the linker treats as one.
    let mut defined = Vec::new();
    for (import, item) in ty.imports(engine) {
        let interface = wasi::parse(import);
        if interface.is_some() && defined.contains(&interface) {
            continue;
        }
        defined.push(interface);
        if !wasi::define(&mut linker, import, &item.ty).map_err(|e| format!("{e:#}"))? {
            return Err(format!("imports {import}, which this host does not provide"));
        }
    }
    let pre = linker.instantiate_pre(component);
    let program = pre.and_then(|pre| {
        Ok(match world {
            World::Service => Linked::Service(Service::new(ServicePre::new(pre)?, cost)),
            World::Proxy => Linked::Proxy(ProxyPre::new(pre)?),
            World::AsyncCommand => Linked::AsyncCommand(p3::bindings::CommandPre::new(pre)?),
            World::Command => Linked::Command(p2::bindings::CommandPre::new(pre)?),
        })
    });
    program.map_err(|e| format!("cannot be linked: {e:#}"))
}
