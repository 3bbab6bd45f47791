//! Loaded code becomes a program: linked to what it imports, ready to be instantiated.

use super::state::State;
use super::{link, wasip1};
use wasmtime::component::Component;
use wasmtime::{Engine, InstancePre, Linker, Module};
use wasmtime_wasi::p2::bindings::CommandPre;

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
    /// A component of WASI 0.2 that exports `wasi:cli/run`.
    Command(CommandPre<State>),
}

impl Program {
    /// Links `code` to the host functions that it imports.
    ///
    /// # Errors
    /// What it imports and nobody provides, or what it should export and does not.
    pub fn link(engine: &Engine, code: &Code) -> Result<Self, String> {
        match code {
            Code::Core(module) => link_core(engine, module),
            Code::Component(component) => link_component(engine, component),
        }
    }

    /// What kind of guest it is, in the words of the documentation.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Core(_) => "core module (WASI 0.1)",
            Self::Command(_) => "command (WASI 0.2)",
        }
    }
}

fn link_core(engine: &Engine, module: &Module) -> Result<Program, String> {
    if module
        .get_export("_start")
        .and_then(|export| export.func().cloned())
        .is_none()
    {
        return Err(
            "exports no function `_start`: it was built as a library, not as a program".into(),
        );
    }
    let mut linker = Linker::new(engine);
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

fn link_component(engine: &Engine, component: &Component) -> Result<Program, String> {
    let ty = component.component_type();
    let exports: Vec<&str> = ty.exports(engine).map(|(name, _)| name).collect();
    if !exports
        .iter()
        .any(|name| name.starts_with("wasi:cli/run@0.2."))
    {
        return Err(
            match exports.iter().find(|name| name.starts_with("wasi:")) {
                Some(name) => {
                    format!("exports {name}, which is not supported: only wasi:cli/run@0.2 is")
                }
                None => "does not export wasi:cli/run: it was built as a library, not as a program"
                    .into(),
            },
        );
    }
    let mut linker = wasmtime::component::Linker::new(engine);
    for (import, _) in ty.imports(engine) {
        if !link::define(&mut linker, import).map_err(|e| format!("{e:#}"))? {
            return Err(format!(
                "imports {import}, which this host does not provide"
            ));
        }
    }
    linker
        .instantiate_pre(component)
        .and_then(CommandPre::new)
        .map(Program::Command)
        .map_err(|e| format!("cannot be linked: {e:#}"))
}
