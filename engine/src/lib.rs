//! The engine settings of wasm-sock, in one place.
//!
//! A `.cwasm` is native code made for exactly one set of settings: the compiler writes them into
//! the artifact, and the host refuses an artifact whose settings are not its own. So both programs
//! take theirs from here.

use wasmtime::Config;

/// How an artifact is told from any other ELF file, and of what kind it is.
pub use wasmtime_environ::obj as artifact;

/// Changes whenever [`config`] changes what the compiler emits: part of the name under which
/// compiled modules are cached.
const REVISION: u32 = 2;

/// How a component's calls into and out of it are made. An artifact is made for one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Calls {
    /// One at a time: core modules, and components up to WASI 0.2.
    Blocking,
    /// Several at a time, as WASI 0.3 needs. Its machinery costs every instance time and memory, so
    /// only components that need it are compiled for it.
    Concurrent,
}

/// The settings that the host and the compiler share.
pub fn config(calls: Calls) -> Config {
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
        .concurrency_support(calls == Calls::Concurrent);
    config
}

/// Identifies what [`config`] and this Wasmtime make of a module, for this kind of CPU.
///
/// Artifacts are compiled for the baseline of the architecture, so that any CPU of the kind runs
/// them and none has to be asked for its features at start (on a virtual machine, each question
/// is a trap into the hypervisor).
pub fn fingerprint() -> String {
    let architecture = std::env::consts::ARCH;
    format!(
        "wasmtime-{}-r{REVISION}-{architecture}",
        wasmtime_environ::VERSION
    )
}

/// The target triple to compile for: this architecture's baseline instruction set.
pub fn target() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "aarch64-unknown-linux-musl"
    } else {
        "x86_64-unknown-linux-musl"
    }
}
