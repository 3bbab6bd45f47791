//! The engine settings of wasm-sock, in one place.
//!
//! A `.cwasm` is native code made for exactly one set of settings: the compiler writes them into
//! the artifact, and the host refuses an artifact whose settings are not its own. So both programs
//! take theirs from here.

use wasmtime::{Collector, Config};

/// How an artifact is told from any other ELF file, and of what kind it is.
pub use wasmtime_environ::obj as artifact;

/// Changes whenever [`config`] changes what the compiler emits: part of the name under which
/// compiled modules are cached.
const REVISION: u32 = 4;

/// What an engine supports beyond what every guest needs. Each costs every instance time and memory, so an
/// artifact is made for the first of [`Support::ALL`] that suffices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Support {
    /// Several calls into and out of a component at a time, as WASI 0.3 needs.
    pub concurrency: bool,
    /// Objects that are garbage-collected, and exceptions, which are such objects.
    pub gc: bool,
}

impl Support {
    /// Nothing more: core modules, and components up to WASI 0.2.
    pub const PLAIN: Self = Self {
        concurrency: false,
        gc: false,
    };

    /// All that there are, the most frequent first.
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

/// What making an instance of a program takes, in bytes. Linear memories, tables and heaps of objects are no part
/// of it: they are counted when they are made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InstanceCost {
    /// What the host holds for it, as long as it lives: globals, references to functions, segments.
    pub held: u32,
    /// What is copied into memories and tables at its start, at one go.
    pub copied: u32,
}

/// Where an artifact tells it: in the address where an ELF file's program begins (`e_entry`, `elf(5)`), of which
/// an artifact has none.
const ENTRY: usize = 24;

impl InstanceCost {
    /// Writes it into an artifact. Nothing happens to what is too short to be one.
    pub fn write(self, artifact: &mut [u8]) {
        if let Some(entry) = artifact.get_mut(ENTRY..ENTRY + 8) {
            entry[..4].copy_from_slice(&self.held.to_le_bytes());
            entry[4..].copy_from_slice(&self.copied.to_le_bytes());
        }
    }

    /// Reads what an artifact tells, which begins with this.
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
        // A guest that spins is interrupted at a loop header or a call, when the epoch has moved on.
        .epoch_interruption(true)
        // Linear memories start as copy-on-write views of the artifact.
        .memory_init_cow(true)
        // Frames are walked by frame pointer; nobody unwinds through guests. Smaller artifacts, and
        // no registration of unwind tables when one is loaded.
        .native_unwind_info(false)
        // Traps name functions, not offsets into the module: the table would double an artifact.
        .generate_address_map(false)
        .wasm_component_model(true)
        // Atomic instructions, which toolchains use on memories that are not shared, too. Shared ones are not
        // made (`Config::shared_memory`).
        .wasm_threads(true)
        .concurrency_support(support.concurrency)
        // Without it, function references stay: only what lives in a heap of its own goes.
        .gc_support(support.gc)
        .wasm_exceptions(support.gc)
        .collector(Collector::Copying);
    config
}

/// Identifies what [`config`] and this Wasmtime make of a module, for this kind of CPU.
///
/// Artifacts are compiled for the baseline of the architecture, so that any CPU of the kind runs
/// them and none has to be asked for its features at start (on a virtual machine, each question
/// is a trap into the hypervisor).
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
