//! The cost of an instance (memory in the host, bytes to copy), computed when the module is compiled and stored in
//! the artifact.

use wasm_sock_engine::InstanceCost;
use wasmtime_environ::component::{
    ComponentTypesBuilder, GlobalInitializer, InstantiateModule, Translator, VMComponentOffsets,
};
use wasmtime_environ::wasmparser::{
    DataKind, ElementItems, ElementKind, Parser, Payload, Result, Validator, WasmFeatures,
};
use wasmtime_environ::{
    ModuleEnvironment, ModuleTranslation, ModuleTypesBuilder, ScopeVec, StaticModuleIndex, Tunables, VMOffsets,
};

/// Memory of each core instance in the host, beside what the module itself needs, in bytes.
const INSTANCE: u64 = 1024;

/// The size of an element of a passive segment, and of a table element, in bytes.
const PASSIVE_ELEMENT: u64 = 16;
const ELEMENT: u64 = 8;

/// Memory of a data segment in the host, in bytes: its address and its length.
const SEGMENT: u64 = 16;

/// The size of a pointer on the target, in bytes.
const POINTER: u8 = 8;

#[derive(Clone, Copy, Default)]
struct Cost {
    held: u64,
    copied: u64,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.held = self.held.saturating_add(other.held);
        self.copied = self.copied.saturating_add(other.copied);
    }
}

impl From<Cost> for InstanceCost {
    fn from(cost: Cost) -> Self {
        let bytes = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            held: bytes(cost.held),
            copied: bytes(cost.copied),
        }
    }
}

/// The cost of an instance of a core module, which was compiled before.
///
/// # Errors
/// When it is not valid.
pub fn of_module(wasm: &[u8]) -> wasmtime::Result<InstanceCost> {
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut parser = Parser::new(0);
    parser.set_features(*validator.features());
    let mut types = ModuleTypesBuilder::new(&validator);
    let index = StaticModuleIndex::from_u32(0);
    let tunables = Tunables::default_u64();
    let environment = ModuleEnvironment::new(&tunables, &mut validator, &mut types, index);
    Ok(of(&environment.translate(parser, wasm)?)?.into())
}

/// As [`of_module`], of a component, with all of its core instances.
///
/// # Errors
/// As there.
pub fn of_component(wasm: &[u8]) -> wasmtime::Result<InstanceCost> {
    let scope = ScopeVec::new();
    let mut validator = Validator::new_with_features(WasmFeatures::all());
    let mut types = ComponentTypesBuilder::new(&validator);
    let tunables = Tunables::default_u64();
    let translator = Translator::new(&tunables, &mut validator, &mut types, &scope);
    let (component, modules) = translator.translate(wasm)?;
    let offsets = VMComponentOffsets::new(POINTER, &component.component);
    let mut cost = Cost {
        held: offsets.size_of_vmctx().into(),
        copied: 0,
    };
    let mut costs = Vec::new();
    for (_, module) in &modules {
        costs.push(of(module)?);
    }
    for initializer in &component.component.initializers {
        // Imported modules are ignored: WASI has none, so such a component cannot be linked.
        if let GlobalInitializer::InstantiateModule(InstantiateModule::Static(module, _), _) = initializer {
            cost.add(costs[module.as_u32() as usize]);
        }
    }
    Ok(cost.into())
}

fn of(translation: &ModuleTranslation<'_>) -> Result<Cost> {
    let module = &translation.module;
    let context = VMOffsets::new(POINTER, module).size_of_vmctx();
    let passive = module.passive_elements.iter().map(|(_, (_, count))| *count);
    let mut cost = Cost {
        held: INSTANCE + u64::from(context) + passive.sum::<u64>().saturating_mul(PASSIVE_ELEMENT),
        copied: 0,
    };
    for payload in Parser::new(0).parse_all(translation.wasm) {
        match payload? {
            Payload::DataSection(segments) => {
                for segment in segments {
                    let segment = segment?;
                    cost.held += SEGMENT;
                    if let DataKind::Active { .. } = segment.kind {
                        cost.copied += segment.data.len() as u64;
                    }
                }
            }
            Payload::ElementSection(segments) => {
                for segment in segments {
                    let segment = segment?;
                    let count = match segment.items {
                        ElementItems::Functions(items) => items.count(),
                        ElementItems::Expressions(_, items) => items.count(),
                    };
                    if let ElementKind::Active { .. } = segment.kind {
                        cost.copied += u64::from(count) * ELEMENT;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(cost)
}
