//! `wasm-sock-compile`: turns a `.wasm` into the `.cwasm` that `wasm-sock host` loads.
//!
//! `wasm-sock compile` runs this program, which is installed beside it. The compiler is a separate program because it
//! has tens of megabytes and a large attack surface, which must not be in a process that serves connections.

mod cost;
mod progress;
mod proposals;

use lexopt::Arg;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use wasm_sock_engine::Support;
use wasmtime::Engine;

const USAGE: &str = "usage: wasm-sock compile FILE.wasm [-o FILE.cwasm]";

/// What went wrong, and the exit code that tells the kinds apart.
enum Failure {
    Usage(String),
    Failed(String),
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(why)) => {
            let _ = writeln!(io::stderr(), "wasm-sock: {why}\n{USAGE}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(why)) => {
            let _ = writeln!(io::stderr(), "wasm-sock: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let Some(Arguments {
        input,
        output,
        address_map,
    }) = arguments().map_err(|e| Failure::Usage(e.to_string()))?
    else {
        println!("{USAGE}");
        return Ok(());
    };
    let failed = |path: &Path, why: &dyn std::fmt::Display| {
        match path.as_os_str().to_str() {
            // The caller knows the name of the module that it passed.
            Some("-") => Failure::Failed(why.to_string()),
            _ => Failure::Failed(format!("{}: {why}", path.display())),
        }
    };
    let wasm = read(&input).map_err(|e| failed(&input, &e))?;
    let artifact = progress::shown(&input, wasm.len(), || compile(&wasm, address_map));
    let artifact = artifact.map_err(|e| failed(&input, &e))?;
    if output.as_os_str() == "-" {
        return io::stdout()
            .write_all(&artifact)
            .map_err(|e| Failure::Failed(format!("standard output: {e}")));
    }
    replace(&output, &artifact).map_err(|e| Failure::Failed(format!("cannot write {}: {e}", output.display())))
}

/// Reads the module; `-` is standard input.
fn read(input: &Path) -> io::Result<Vec<u8>> {
    if input.as_os_str() != "-" {
        return fs::read(input);
    }
    let mut wasm = Vec::new();
    io::stdin().read_to_end(&mut wasm)?;
    Ok(wasm)
}

struct Arguments {
    /// The module to compile; `-` is standard input.
    input: PathBuf,
    /// Where the artifact goes; `-` is standard output.
    output: PathBuf,
    /// `--address-map`: the artifact tells where in the module a trap was, and is twice as large. For `wasm-sock run`.
    address_map: bool,
}

/// The arguments; `None` when help was asked for.
fn arguments() -> Result<Option<Arguments>, lexopt::Error> {
    let mut address_map = false;
    let mut input: Option<OsString> = None;
    let mut output: Option<OsString> = None;
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Arg::Short('h') | Arg::Long("help") => return Ok(None),
            Arg::Short('o') | Arg::Long("output") => output = Some(parser.value()?),
            Arg::Long("address-map") => address_map = true,
            Arg::Value(file) if input.is_none() => input = Some(file),
            other => return Err(other.unexpected()),
        }
    }
    let input = PathBuf::from(input.ok_or("no FILE.wasm to compile")?);
    let beside = || match input.as_os_str().to_str() {
        Some("-") => input.clone(),
        _ => input.with_extension("cwasm"),
    };
    let output = output.map_or_else(beside, PathBuf::from);
    if output == input && output.as_os_str() != "-" {
        return Err("the module is already a .cwasm; give the .wasm it was made from".into());
    }
    Ok(Some(Arguments {
        input,
        output,
        address_map,
    }))
}

fn compile(wasm: &[u8], address_map: bool) -> Result<Vec<u8>, String> {
    /// The eight bytes a component begins with; a core module has the version 1 and layer 0.
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    if !wasm.starts_with(b"\0asm") {
        return Err("not a WebAssembly module (it does not begin with \"\\0asm\")".into());
    }
    if let Some(why) = proposals::shares_memory(wasm) {
        return Err(why.into());
    }
    let is_component = wasm.starts_with(COMPONENT);
    let mut why = String::new();
    // A module that is not valid with the features of one engine may be with those of the next.
    for support in Support::ALL {
        if !is_component && support.concurrency {
            continue;
        }
        match engine(support, address_map).and_then(|engine| artifact(&engine, wasm, is_component)) {
            Ok(artifact) => return Ok(artifact),
            Err(error) => why = format!("cannot compile: {error:#}"),
        }
    }
    Err(proposals::refused(wasm).unwrap_or(why))
}

/// Compiles the module for `engine`. The artifact includes the cost of an instance.
fn artifact(engine: &Engine, wasm: &[u8], is_component: bool) -> wasmtime::Result<Vec<u8>> {
    let (mut artifact, cost) = match is_component {
        true => (engine.precompile_component(wasm)?, cost::of_component(wasm)?),
        false => (engine.precompile_module(wasm)?, cost::of_module(wasm)?),
    };
    cost.write(&mut artifact);
    Ok(artifact)
}

fn engine(support: Support, address_map: bool) -> wasmtime::Result<Engine> {
    let mut config = wasm_sock_engine::config(support);
    // A host runs artifacts with it and without it.
    config.generate_address_map(address_map);
    config.target(wasm_sock_engine::target())?;
    Engine::new(&config)
}

/// Writes the artifact atomically (temporary file and rename), so that a host that has mapped the old one keeps it,
/// and no process sees a half-written file.
fn replace(path: &Path, artifact: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::Builder::new()
        .prefix(".compiling-")
        .permissions(fs::Permissions::from_mode(0o644))
        .tempfile_in(folder)?;
    file.write_all(artifact)?;
    file.persist(path)?;
    Ok(())
}
