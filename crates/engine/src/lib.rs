//! Wasmtime engine settings that the host and the compiler share, and the metadata in an artifact.
//!
//! A `.cwasm` is native code for one set of settings: the compiler writes them into the artifact, and the host
//! refuses an artifact with other settings. So both programs take them from here.

use wasmtime::{Collector, Config};

/// Constants that distinguish an artifact from other ELF files, and modules from components.
pub use wasmtime_environ::obj as artifact;

/// Changes whenever [`config`] changes what the compiler emits: part of the name under which
/// compiled modules are cached.
const REVISION: u32 = 4;

/// Optional features of an engine. Each takes time and memory for every instance, so an artifact is made for the
/// first of [`Support::ALL`] that suffices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Support {
    /// Several calls into and out of a component at a time, as WASI 0.3 needs.
    pub concurrency: bool,
    /// Objects that are garbage-collected, and exceptions, which are such objects.
    pub gc: bool,
}

impl Support {
    /// No optional feature: core modules, and components up to WASI 0.2.
    pub const PLAIN: Self = Self {
        concurrency: false,
        gc: false,
    };

    /// All combinations, the most frequent first.
    pub const ALL: [Self; 4] = [
        Self::PLAIN,
        Self {
            concurrency: true,
            gc: false,
        },
        Self {
            concurrency: false,
            gc: true,
        },
        Self {
            concurrency: true,
            gc: true,
        },
    ];
}

/// The cost of creating an instance, in bytes. Linear memories, tables and GC heaps are not included: they are
/// counted when they are created.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InstanceCost {
    /// Host memory during the life of the instance: globals, function references, segments.
    pub held: u32,
    /// Bytes that are copied into memories and tables when it starts, without interruption.
    pub copied: u32,
}

/// Offset of the cost in an artifact: the entry point of an ELF file (`e_entry`, `elf(5)`), which an artifact does
/// not use.
const ENTRY: usize = 24;

impl InstanceCost {
    /// Writes the cost into an artifact. Does nothing if `artifact` is too short to be one.
    pub fn write(self, artifact: &mut [u8]) {
        if let Some(entry) = artifact.get_mut(ENTRY..ENTRY + 8) {
            entry[..4].copy_from_slice(&self.held.to_le_bytes());
            entry[4..].copy_from_slice(&self.copied.to_le_bytes());
        }
    }

    /// Reads the cost from an artifact, of which at least the ELF header is needed.
    pub fn read(artifact: &[u8]) -> Option<Self> {
        let (held, copied) = artifact.get(ENTRY..ENTRY + 8)?.split_first_chunk()?;
        Some(Self {
            held: u32::from_le_bytes(*held),
            copied: u32::from_le_bytes(copied.try_into().ok()?),
        })
    }
}

/// The settings that the host and the compiler share.
pub fn config(support: Support) -> Config {
    let mut config = Config::new();
    config
        // A guest is interrupted at a loop header or a call, when the epoch was incremented.
        .epoch_interruption(true)
        // Linear memories start as copy-on-write views of the artifact.
        .memory_init_cow(true)
        // Stack frames are walked by frame pointer, and no panic unwinds through guests. So artifacts are smaller,
        // and no unwind tables are registered when one is loaded.
        .native_unwind_info(false)
        // Traps name functions, not offsets into the module: the table would double an artifact.
        .generate_address_map(false)
        .wasm_component_model(true)
        // Atomic instructions, which toolchains also use on memories that are not shared. Shared memories are not
        // supported (`Config::shared_memory`).
        .wasm_threads(true)
        .concurrency_support(support.concurrency)
        // Without it, function references are still supported: only what needs a GC heap is not.
        .gc_support(support.gc)
        .wasm_exceptions(support.gc)
        .collector(Collector::Copying);
    config
}

/// The settings of a program that loads artifacts and compiles nothing. A host that was built together with the compiler
/// has Cranelift linked in (Cargo unifies features); no engine of it has a compiler.
pub fn config_without_compiler(support: Support) -> Config {
    #[cfg_attr(
        not(feature = "cranelift"),
        expect(unused_mut, reason = "there is no compiler to disable")
    )]
    let mut config = config(support);
    #[cfg(feature = "cranelift")]
    config.enable_compiler(false);
    config
}

/// Identifies the output of the compiler: [`config`], the version of Wasmtime and the architecture.
///
/// Artifacts are compiled for the baseline of the architecture, so that every CPU of it runs them and no CPU features
/// have to be detected at start (in a virtual machine, each CPUID instruction traps into the hypervisor).
pub fn fingerprint() -> String {
    let architecture = std::env::consts::ARCH;
    format!("wasmtime-{}-r{REVISION}-{architecture}", wasmtime_environ::VERSION)
}

/// The target triple to compile for: this architecture's baseline instruction set.
pub fn target() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "aarch64-unknown-linux-musl"
    } else {
        "x86_64-unknown-linux-musl"
    }
}
