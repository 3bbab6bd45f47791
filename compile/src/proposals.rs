//! Detects unsupported WebAssembly proposals in a module, for error messages.

use wasmtime_environ::wasmparser::{Parser, Payload, TypeRef, Validator, WasmFeatures};

/// A proposal, and how to build a module without it.
struct Proposal {
    features: WasmFeatures,
    name: &'static str,
    instead: &'static str,
}

const fn proposal(features: WasmFeatures, name: &'static str, instead: &'static str) -> Proposal {
    Proposal {
        features,
        name,
        instead,
    }
}

const UNSUPPORTED: &[Proposal] = &[
    proposal(
        WasmFeatures::LEGACY_EXCEPTIONS,
        "legacy exception handling",
        "build with `-fwasm-exceptions -mllvm -wasm-use-legacy-eh=false` (LLVM 20), or convert it with `wasm-opt --translate-to-exnref`",
    ),
    proposal(WasmFeatures::SHARED_EVERYTHING_THREADS, "shared-everything threads", ""),
    proposal(
        WasmFeatures::WIDE_ARITHMETIC,
        "wide arithmetic",
        "build with `-mno-wide-arithmetic`, or `-C target-feature=-wide-arithmetic` in Rust",
    ),
    proposal(WasmFeatures::CUSTOM_PAGE_SIZES, "custom page sizes", ""),
    proposal(WasmFeatures::MEMORY_CONTROL, "memory control", ""),
    proposal(WasmFeatures::STACK_SWITCHING, "stack switching", ""),
    proposal(WasmFeatures::CUSTOM_DESCRIPTORS, "custom descriptors", ""),
    proposal(WasmFeatures::COMPACT_IMPORTS, "compact import section", ""),
    proposal(WasmFeatures::CM_VALUES, "values in components", ""),
    proposal(WasmFeatures::CM_NESTED_NAMES, "nested names in components", ""),
    proposal(
        WasmFeatures::CM_ASYNC_STACKFUL,
        "stackful async lifts of components",
        "",
    ),
    proposal(
        WasmFeatures::CM_MORE_ASYNC_BUILTINS,
        "more async built-ins of components",
        "",
    ),
    proposal(WasmFeatures::CM_THREADING, "threads of components", ""),
    proposal(WasmFeatures::CM_ERROR_CONTEXT, "error contexts of components", ""),
    proposal(
        WasmFeatures::CM_FIXED_LENGTH_LISTS,
        "lists of a fixed length in components",
        "",
    ),
    proposal(WasmFeatures::CM_GC, "garbage collection in components", ""),
    proposal(WasmFeatures::CM_MAP, "maps in components", ""),
    proposal(WasmFeatures::CM64, "64-bit components", ""),
    proposal(WasmFeatures::CM_IMPLEMENTS, "`implements` in components", ""),
    proposal(WasmFeatures::CM_CANON_NAMES, "`versionsuffix` in components", ""),
];

/// The message about a module with a shared memory. (Atomic instructions alone are supported.)
pub fn shares_memory(wasm: &[u8]) -> Option<&'static str> {
    let is_shared = |payload: Payload<'_>| match payload {
        Payload::MemorySection(memories) => memories.into_iter().flatten().any(|memory| memory.shared),
        Payload::ImportSection(imports) => imports
            .into_imports()
            .flatten()
            .any(|import| matches!(import.ty, TypeRef::Memory(memory) if memory.shared)),
        _ => false,
    };
    // The compiler reports what is not valid.
    let mut payloads = Parser::new(0).parse_all(wasm).map_while(Result::ok);
    payloads.any(is_shared).then_some(
        "uses a WebAssembly proposal that is not supported: threads (it has a shared memory); build without `-pthread`, and for wasm32-wasip1 and not wasm32-wasip1-threads",
    )
}

/// The message about a module that needs unsupported proposals. `None`: it is not valid with them either, so they are
/// not the reason.
pub fn refused(wasm: &[u8]) -> Option<String> {
    let is_valid = |features| {
        let mut validator = Validator::new_with_features(features);
        validator.validate_all(wasm).is_ok()
    };
    if !is_valid(WasmFeatures::all()) {
        return None;
    }
    let needed = |proposal: &&Proposal| !is_valid(WasmFeatures::all() - proposal.features);
    let needed = UNSUPPORTED.iter().filter(needed).map(|proposal| {
        let Proposal { name, instead, .. } = proposal;
        match instead.is_empty() {
            true => (*name).to_owned(),
            false => format!("{name}; {instead}"),
        }
    });
    let needed: Vec<String> = needed.collect();
    match needed.len() {
        0 => None,
        1 => Some(format!(
            "uses a WebAssembly proposal that is not supported: {}",
            needed[0]
        )),
        _ => Some(format!(
            "uses WebAssembly proposals that are not supported: {}",
            needed.join(" | ")
        )),
    }
}
