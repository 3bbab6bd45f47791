//! Loaded code: an artifact (`.cwasm`) deserialized by Wasmtime, not linked to its imports yet.

use super::code_memory::{Header, loading};
use std::env::consts::ARCH;
use std::fs::File;
use std::os::fd::AsRawFd;
use wasm_sock_engine::InstanceCost;
use wasmtime::component::Component;
use wasmtime::{Engine, Module, Precompiled};

/// Loaded code, not linked to its imports yet.
#[derive(Clone)]
pub struct Code {
    pub unit: Unit,
    /// Memory that an instance takes.
    pub cost: InstanceCost,
}

/// A compiled core module or component.
#[derive(Clone)]
pub enum Unit {
    Core(Module),
    Component(Component),
}

impl Code {
    /// Maps an artifact from its file.
    ///
    /// # Safety
    /// The file must hold what the compiler wrote, and must never change: see [`Module::deserialize`].
    ///
    /// # Errors
    /// When it was made for another engine or other settings, or is damaged.
    pub unsafe fn load(engine: &Engine, file: &File) -> wasmtime::Result<Self> {
        let Some(header) = Header::read(file) else {
            wasmtime::bail!("not a compiled WebAssembly module, or only the beginning of one");
        };
        // Wasmtime would find that, too, and does not say which one this machine is.
        if header.architecture != Some(ARCH) {
            let other = header.architecture.unwrap_or("another processor");
            wasmtime::bail!("it was compiled for {other}, and this machine is {ARCH}");
        }
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

    /// The names of its imports: functions of WASI 0.1 (`MODULE.FUNCTION`), or interfaces.
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
