//! Running `wasm-sock-compile`, the program with the compiler in it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::{env, io};

const PROGRAM: &str = "wasm-sock-compile";

/// Where the compiler is: beside this program.
///
/// # Errors
/// When the system does not tell where this program is.
pub fn compiler_path() -> io::Result<PathBuf> {
    Ok(env::current_exe()?.with_file_name(PROGRAM))
}

/// Compiles `wasm` into the file `artifact`, atomically.
///
/// # Errors
/// What the compiler said, or why it could not be run, in one line.
pub fn compile_to(wasm: &Path, artifact: &Path) -> Result<(), String> {
    run(wasm, artifact.as_os_str()).map(drop)
}

/// Compiles `wasm` without leaving anything on disk, and returns the artifact.
///
/// # Errors
/// As [`compile_to`].
pub fn compile_to_memory(wasm: &Path) -> Result<Vec<u8>, String> {
    run(wasm, OsStr::new("-")).map(|output| output.stdout)
}

fn run(wasm: &Path, artifact: &OsStr) -> Result<Output, String> {
    let compiler = compiler_path().map_err(|e| format!("cannot find {PROGRAM}: {e}"))?;
    let output = Command::new(&compiler)
        .arg("-o")
        .arg(artifact)
        .arg("--")
        .arg(wasm)
        // The compiler needs nothing of what we were told, the sockets least of all.
        .env_clear()
        .stdin(Stdio::null())
        .output()
        .map_err(|e| {
            format!("cannot run {}: {e} (it belongs beside wasm-sock: install it, or run `wasm-sock compile` where it is and install the .cwasm)", compiler.display())
        })?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.trim().trim_start_matches("wasm-sock: ");
    if said.is_empty() {
        return Err(format!("{PROGRAM} ended with {}", output.status));
    }
    Err(said.to_owned())
}
